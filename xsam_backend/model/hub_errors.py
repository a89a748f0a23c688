"""What huggingface_hub raises, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from httpx2 import HTTPError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from xsam_backend.errors import CheckpointError


@contextmanager
def worded(address: str, repository: str, revision: str) -> Iterator[None]:
    """The client's errors in words that say what to do. Raises CheckpointError for each of them."""
    where = f"{repository} at {address}"
    try:
        yield
    except HFValidationError as error:
        raise CheckpointError(f"{repository!r} is no name of a repository, such as hao9610/X-SAM") from error
    except GatedRepoError as error:
        raise CheckpointError(
            f"{where} is gated: accept its conditions on its page, then log in with `hf auth login`, or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{where} has no revision {revision!r}: give a branch, tag or commit") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{where}: no such repository, or a private one: check the name, or log in with `hf auth login`, or "
            "set HF_TOKEN"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        mend = "is the token (HF_TOKEN, `hf auth login`) still good?" if status in (401, 403) else "try again later"
        raise CheckpointError(f"{where} answered HTTP {status}: {mend}") from error
    except HTTPError as error:
        raise CheckpointError(
            f"{where} cannot be reached, or broke off ({type(error).__name__}: {error}): run the command again, it "
            "goes on where it stopped; a mirror is asked with --endpoint, the cache alone with --offline"
        ) from error
    except OSError as error:
        if error.errno is None:  # the client's own: fewer bytes than listed. Its advice is for its callers
            raise CheckpointError(
                f"{where} sent fewer bytes than it lists: run the command again, it goes on where it stopped; where "
                "that is of no use, ask another mirror with --endpoint"
            ) from error
        raise CheckpointError(f"{where}: cannot be written to the cache ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Read by the client, which expects what the hub says.
        raise CheckpointError(
            f"{where}: expected the answers of a model hub, got something else ({type(error).__name__}: {error}): "
            "does a proxy or a login page answer in its place, is it a mirror of the hub?"
        ) from error
