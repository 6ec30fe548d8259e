"""``python -m workers.health PORT`` checks that every process of a worker is alive. Containers run it as a health
check."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from itertools import count

#: Seconds that a process may take to answer. A process that hangs still accepts connections, but never answers.
SECONDS = 5.0


def illness(port: int, *, seconds: float = SECONDS) -> str | None:
    """Return why the worker should be restarted, or None if all its processes are alive.

    The processes use consecutive ports, starting at ``port``. The first must answer. After that, the first port that
    refuses a connection counts as the end of the list. (If it belongs to a process that is just being replaced, the
    processes after it are checked next time.)
    """
    for at in count(port):
        connection = HTTPConnection("127.0.0.1", at, timeout=seconds)
        try:
            connection.request("GET", "/live")
            answer = connection.getresponse()
            if answer.status != 200:
                return f"the process at port {at}: {answer.read(1000).decode('utf-8', 'replace').strip()}"
        except ConnectionRefusedError:
            return None if at > port else f"nothing listens on port {at}"
        except (OSError, HTTPException) as error:
            return f"the process at port {at} does not answer: {str(error) or type(error).__name__}"
        finally:
            connection.close()
    return None


if __name__ == "__main__":
    if found := illness(int(sys.argv[1])):
        print(found)
        raise SystemExit(1)
