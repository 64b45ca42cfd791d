"""Stand-ins for Apple and for devices, over real sockets, TLS and signatures; the product imports
nothing from here."""
