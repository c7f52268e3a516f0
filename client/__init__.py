"""The client library: submits workflows to a server, follows them, and fetches what they made."""

from __future__ import annotations

from .client import Client as Client
from .errors import AccessDeniedError as AccessDeniedError
from .errors import ConnectionLostError as ConnectionLostError
from .errors import JobNotFoundError as JobNotFoundError
from .errors import RequestRefusedError as RequestRefusedError
from .errors import ServerError as ServerError
from .errors import ServerUnreachableError as ServerUnreachableError
from .job import Job as Job
from .job import QueueState as QueueState
from .transfer import UploadedFile as UploadedFile
