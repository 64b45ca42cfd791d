"""What the secrets that devices send are sealed for (mdm/secrets.py)."""

PUSH_TOKEN, UNLOCK_TOKEN, BOOTSTRAP_TOKEN = "push_token", "unlock_token", "bootstrap_token"
