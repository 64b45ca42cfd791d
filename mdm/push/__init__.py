"""Waking devices through Apple's push service: `wake` says whom and when, `apns` speaks to Apple,
`certificate` keeps the push certificate."""
