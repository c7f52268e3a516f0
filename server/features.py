"""What the server says it can do; only what it really can."""

from __future__ import annotations

from typing import Any, Final

MAX_UPLOAD_NBYTES = 100 << 20
"""The largest body that a request may have."""

FEATURES: Final[dict[str, Any]] = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD_NBYTES}
