-- Replays requests prepared beforehand, each thread its own file, in order.
-- A file is a list of "<length>\n<request>"; with "once" it ends when the file does.
local counter = 0

function setup(thread)
  counter = counter + 1
  thread:set("number", counter)
end

function init(args)
  once = args[2] == "once"
  local file = assert(io.open(args[1] .. "." .. number, "rb"))
  requests = {}
  while true do
    local length = file:read("*n")
    if not length then break end
    file:read(1)
    requests[#requests + 1] = file:read(length)
  end
  file:close()
  finished = args[1] .. "." .. number .. ".done"
  sent = 0
end

function request()
  if number == 1 and not probed then
    -- wrk calls this once before it begins, and throws the result away.
    probed = true
    return requests[1]
  end
  sent = sent + 1
  if sent > #requests then
    if once then
      -- The answer to the last request has come: this thread is done.
      io.open(finished, "w"):close()
      wrk.thread:stop()
      return requests[#requests]
    end
    sent = 1
  end
  return requests[sent]
end

function done(summary, latency, requests)
  io.write(string.format(
    '\nRESULT {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "status_errors": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
