"""The formats a device enrolls with: certificates, SCEP and profiles. No Django in here."""
