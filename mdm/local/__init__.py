"""Everything one machine needs to run GuardMDM by itself: embedded Postgres and Valkey, the front
end's assets and the supervisor of all processes. Plain Python without Django; what the processes
serve lives in `mdm/` and the apps beside it.
"""
