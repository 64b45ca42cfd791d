"""RSA keys for devices. Making one takes a processor about 60 ms, so that it happens in threads
beside the event loop, and keys are laid in store where a folder for them is given."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lab.authority import write_private


class KeyShelf:
    """Every key is given out once. `folder` holds keys made in advance (`stock`)."""

    def __init__(self, folder: Path | None = None, threads: int = 1) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lab-keys")

    async def take(self, size: int) -> rsa.RSAPrivateKey:
        """A key that no other device has; from the store when it holds one of this size."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._take, max(size, 2048))

    def stock(self, count: int, size: int = 2048) -> None:
        """Have `count` keys in store, so that enrolling that many devices costs no waiting."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        have = len(list(self._folder.glob(f"{size}-*.pem")))
        for _ in range(count - have):
            key = _generate(size)
            serial = key.public_key().public_numbers().n % 10**12
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            write_private(self._folder / f"{size}-{serial:012}.pem", pem)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(self, size: int) -> rsa.RSAPrivateKey:
        return self._from_store(size) or _generate(size)

    def _from_store(self, size: int) -> rsa.RSAPrivateKey | None:
        if self._folder is None or not self._folder.is_dir():
            return None
        for path in self._folder.glob(f"{size}-*.pem"):
            key = load_pem_private_key(
                path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True
            )
            path.unlink()
            if isinstance(key, rsa.RSAPrivateKey):
                return key
        return None


def _generate(size: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=size)
