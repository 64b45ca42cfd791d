"""ADE profiles as Apple has them; no Django here."""
