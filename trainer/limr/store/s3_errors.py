"""What S3's refusals mean: which are worth another try, and the sentence for a person about those that are not.

Only error codes of the server are repeated, never its text, which can quote the signed request.
"""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError, S3ValidationError

from limr.store.base import Conflict, NotFound, StoreError

_NO_ANSWER = (ConnectionError, HTTPClientError)
_BROKEN_ANSWER = (
    IncompleteReadError,
    ResponseParserError,
    RetriesExceededError,
    S3DownloadFailedError,  # replaced by another writer between two parts
    S3ValidationError,
)
FAILURES = (ClientError, BotoCoreError, *_BROKEN_ANSWER)  # all that a request can raise
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound)
_CONFLICT_CODES = {"PreconditionFailed", "412"}
_MISSING_CODES = {"NoSuchKey", "NotFound", "404"}
# A second "complete" of a multipart upload whose first answer was lost meets NoSuchUpload: sending it anew settles it.
_TRANSIENT_CODES = {
    "SlowDown", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "NoSuchUpload", "InternalError",
}  # fmt: skip
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}

_REFUSED = "the server refuses the credentials; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the role in use"
_DENIED = "access denied; allow these credentials to list the bucket and to get, put and delete objects below this URI"
_REGION = "the bucket is in another region; set AWS_REGION to it, or storage.endpoint to the bucket's server"
_SENTENCES = {
    "NoSuchBucket": "there is no such bucket; create it or correct storage.uri",
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": _REFUSED,
    "SignatureDoesNotMatch": _REFUSED,
    "InvalidToken": _REFUSED,
    "ExpiredToken": "the credentials have expired; renew them",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    **dict.fromkeys(_FULL_CODES, "the storage is full; free some space and run again, what was finished is kept"),
}


def code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "unknown")


def is_conflict(error: Exception) -> bool:
    return isinstance(error, ClientError) and code_of(error) in _CONFLICT_CODES


def was_retried(error: Exception) -> bool:
    """Whether the answer is one to a repeated request, so that an earlier one may have been carried out."""
    return isinstance(error, ClientError) and error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        code = code_of(error)
        if code in _SENTENCES or code in _CONFLICT_CODES:
            return False
        # An answer cut off within its body has only its status for a code, as answers to HEAD always have.
        cut_off = code.isdigit() and error.operation_name != "HeadObject"
        return cut_off or code in _TRANSIENT_CODES or status == 429 or status >= 500
    return isinstance(error, (*_NO_ANSWER, *_BROKEN_ANSWER)) and not isinstance(error, SSLError)


def explain(error: Exception, where: str, server: str) -> StoreError:
    """The StoreError about `where` (a URI) that says what `error`, from `server`, means and what to do."""
    if is_transient(error):
        problem = code_of(error) if isinstance(error, ClientError) else type(error).__name__
        return StoreError(
            f"{where}: {server} does not serve requests ({problem}); check storage.endpoint, the network and the "
            "server, then run again"
        )
    if isinstance(error, ClientError):
        return _explain_answer(code_of(error), where)
    if isinstance(error, _NO_CREDENTIALS):
        return StoreError(
            f"{where}: no usable credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "a profile or a role"
        )
    if isinstance(error, SSLError):
        return StoreError(f"{where}: the certificate of {server} is not trusted; set AWS_CA_BUNDLE or mend the server")
    return StoreError(f"{where}: {server} cannot be used ({type(error).__name__}: {error}); check storage.uri")


def _explain_answer(code: str, where: str) -> StoreError:
    if code in _CONFLICT_CODES:
        return Conflict(f"{where}: holds other bytes than this writer expected; another writer was first")
    if code in _MISSING_CODES:
        return NotFound(f"{where}: there is no such object")
    return StoreError(f"{where}: {_SENTENCES.get(code, f'the server refuses with {code}; ask who runs it')}")
