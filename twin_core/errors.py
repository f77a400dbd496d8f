"""Every error of the project.

    TwinError
      InvalidTerritory      a territory file or an object built from it is wrong; lists every problem
      InvalidInput          an argument or a request is out of its allowed range
      UnknownName           a name that does not exist: asset, signal, tag, node
      NotReady              the thing asked for is not there yet (no measurement so far, model starting)
      AdapterError          a plant cannot be reached or does not answer as configured
        NotTrusted          a certificate is not in the trust list
          LoginRefused      the plant refuses the user or the password
        UnknownTag          the plant's server does not have the tag
      StorageError          the store cannot commit or read
        StorageFull         no space left: nothing was acknowledged
      NotConverged          no flows and pressures were found that belong together; names the culprit
      ModelFailure          a step of a model gave nothing finite; the state before it was kept

`services/status.py` turns each into one gRPC status code; the command line prints the message and exits 1.
"""

from collections.abc import Iterable, Sequence


class TwinError(Exception):
    """Base of all errors that we raise on purpose; the message names the thing and the remedy."""


class InvalidTerritory(TwinError):
    """A territory is wrong. `problems` holds every one of them, each naming its key, value and what is allowed."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        """`where` names the file or object."""
        self.where = where
        self.problems = tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        super().__init__(f"{where}: {count}{lines}")


class InvalidInput(TwinError):
    """An argument, a request field or a sample column is out of its allowed range."""


class UnknownName(TwinError):
    """A name that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), hint: str = "") -> None:
        """`kind` is what was looked for ("asset"), `known` the names that would have worked, `hint` what else."""
        self.kind = kind
        self.name = name
        names = sorted(known)
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        super().__init__(
            f"unknown {kind} {name!r}" + (f"; known: {shown}" if names else "") + (f"; {hint}" if hint else "")
        )


class NotReady(TwinError):
    """The thing asked for is not there yet; asking again later can succeed."""


class AdapterError(TwinError):
    """A plant cannot be reached or does not answer as configured."""


class NotTrusted(AdapterError):
    """A certificate is not in the trust list."""


class LoginRefused(NotTrusted):
    """The plant refuses the user or the password; to try it over and over again may lock the account."""


class UnknownTag(AdapterError):
    """The plant's server does not have a tag of the tag table."""


class StorageError(TwinError):
    """The store cannot commit or read."""


class StorageFull(StorageError):
    """No space left on the device: nothing of the batch was committed or acknowledged."""


class ModelFailure(TwinError):
    """A step of a model gave no finite result, or the model refused its inputs; the state before it was kept."""


class NotConverged(TwinError):
    """Flows and pressures of a network kept changing. `culprit` is the pipe, valve, pump or unit that did most."""

    def __init__(self, network: str, culprit: str, iterations: int) -> None:
        """`iterations`: how many were tried."""
        self.network = network
        self.culprit = culprit
        super().__init__(
            f"network {network}: flows did not settle in {iterations} iterations; {culprit} changed most: "
            "look at its size, its setting and what the pumps around it do"
        )
