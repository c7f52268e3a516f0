"""The test kit for plugins. pytest loads its fixtures by itself; the assertions are imported from here.

Nothing heavy is imported before a fixture or an assertion needs it: every pytest run beside Mezzotint loads this.
"""

from __future__ import annotations

from .event_assertions import assert_failed as assert_failed
from .event_assertions import assert_ran as assert_ran
from .event_assertions import assert_reused as assert_reused
from .picture import assert_images_close as assert_images_close
