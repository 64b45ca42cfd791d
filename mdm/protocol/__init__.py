"""The wire between devices and this server, free of Django; `mdm.checkin` acts on its messages."""
