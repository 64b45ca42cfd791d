"""Check-in: what each message of a device changes, and what the device gets in return.

`messages.py` takes a message to its function; `authenticate.py` and `token_update.py` begin and
complete an enrollment, `ending.py` ends it, `requests.py` answers what devices ask for. How a
message gets here is `mdm/endpoints.py`; the SQL is `mdm/statements.py`; commands are another
endpoint (`commands/connect.py`). Source: Apple's "Check-in" and its message pages.
"""

from mdm.checkin.answer import Answer
from mdm.checkin.ending import end
from mdm.checkin.messages import handle
from mdm.checkin.requests import answer_with
from mdm.checkin.secrets import BOOTSTRAP_TOKEN, PUSH_TOKEN, UNLOCK_TOKEN
from mdm.checkin.speaker import Speaker

__all__ = [
    "BOOTSTRAP_TOKEN",
    "PUSH_TOKEN",
    "UNLOCK_TOKEN",
    "Answer",
    "Speaker",
    "answer_with",
    "end",
    "handle",
]
