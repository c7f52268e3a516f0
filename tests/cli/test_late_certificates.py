from __future__ import annotations

import ssl
import subprocess
import sys

from mezzotint.cli.late_certificates import late_certificates


def test_certificates_are_read_at_the_first_connection() -> None:
    usual = ssl.create_default_context()
    with late_certificates():
        context = ssl.create_default_context()
    assert context.cert_store_stats()["x509_ca"] == 0
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert isinstance(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.org"), ssl.SSLObject)
    assert context.cert_store_stats() == usual.cert_store_stats()
    assert type(context) is ssl.SSLContext


def test_contexts_made_later_are_as_ever() -> None:
    with late_certificates():
        pass
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 0


def test_the_contexts_of_aiohttp_are_such() -> None:
    program = (
        "import ssl\n"
        "from mezzotint.cli.late_certificates import late_certificates\n"
        "with late_certificates():\n"
        "    import aiohttp\n"
        "import gc\n"
        "print(*(type(found).__name__ for found in gc.get_objects() if isinstance(found, ssl.SSLContext)))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["_LateContext"] * 2
