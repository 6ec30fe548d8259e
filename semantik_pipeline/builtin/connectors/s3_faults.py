"""Translates errors of an S3 server into errors of this project."""

from __future__ import annotations

from semantik_pipeline.errors import (
    CredentialsRejected,
    PermanentError,
    PipelineError,
    PluginConfigError,
    ServiceUnavailable,
    seconds_of,
)

_WAY_OUT = "Check access_key_env and secret_key_env, or the standard AWS variables and files."

#: Codes of a server that is overloaded or has an internal error.
_AWAY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "TooManyRequests"}


def meaning(error: Exception, bucket: str) -> PipelineError:
    """The error of this project for an error that the client raised for a bucket."""
    from botocore import exceptions

    if isinstance(error, PipelineError):
        return error
    if isinstance(error, exceptions.ClientError):
        return _answered(error, bucket)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        hint = f"{_WAY_OUT} A public bucket needs anonymous: true."
        return CredentialsRejected(f"There are no credentials for the bucket {bucket}.", hint)
    if isinstance(error, exceptions.TokenRetrievalError | exceptions.CredentialRetrievalError):
        return CredentialsRejected(f"The credentials for the bucket {bucket} can't be obtained: {error}", _WAY_OUT)
    if isinstance(
        error, OSError | exceptions.HTTPClientError | exceptions.ConnectionError | exceptions.IncompleteReadError
    ):
        return ServiceUnavailable(f"The bucket {bucket} can't be reached: {error}")
    return PermanentError(f"The bucket {bucket} can't be read: {type(error).__name__}: {error}")


def code_of(error: Exception) -> str:
    """The server's error code, such as ``NoSuchKey``; empty if there is none."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _answered(error: Exception, bucket: str) -> PipelineError:
    code = code_of(error)
    about = getattr(error, "response", {}).get("ResponseMetadata", {})
    status = about.get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return PluginConfigError(f"There is no bucket {bucket}.", "Check bucket, endpoint_url and region.")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return PluginConfigError(f"The bucket {bucket} is in another region.", "Set region to the bucket's region.")
    if code in _AWAY or status == 429 or status >= 500:
        wait = seconds_of(about.get("HTTPHeaders", {}).get("retry-after"))
        return ServiceUnavailable(f"The bucket {bucket} answers {code or status}.", retry_after=wait)
    if code == "RequestTimeTooSkewed":
        told = f"The bucket {bucket} refuses the time of this host, whose clock is wrong by minutes."
        return ServiceUnavailable(told, "Correct the clock of the workers' host, for example with NTP.")
    if status in (401, 403) or code in ("InvalidAccessKeyId", "ExpiredToken", "InvalidToken"):
        return CredentialsRejected(f"The bucket {bucket} refuses access ({code or status}).", _WAY_OUT)
    return PermanentError(f"The bucket {bucket} can't be read: {error}")
