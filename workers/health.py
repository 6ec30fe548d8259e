"""``python -m workers.health PORT``: whether every process of a worker lives, for the health check of its container."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from itertools import count

#: Seconds that a process may take to answer. One that stands still has its port, too, and says nothing.
SECONDS = 5.0


def illness(port: int, *, seconds: float = SECONDS) -> str | None:
    """Why a worker should be started anew; None if all is well.

    Its processes have the ports from this one on. The first has to answer; of the others, the first port that nobody has
    is taken for the end. (It may be that of a process which is being replaced: then those behind it are asked next time.)
    """
    for at in count(port):
        connection = HTTPConnection("127.0.0.1", at, timeout=seconds)
        try:
            connection.request("GET", "/live")
            answer = connection.getresponse()
            if answer.status != 200:
                return f"the process at port {at}: {answer.read(1000).decode('utf-8', 'replace').strip()}"
        except ConnectionRefusedError:
            return None if at > port else f"nobody has port {at}"
        except (OSError, HTTPException) as error:
            return f"the process at port {at} does not answer: {str(error) or type(error).__name__}"
        finally:
            connection.close()
    return None


if __name__ == "__main__":
    if found := illness(int(sys.argv[1])):
        print(found)
        raise SystemExit(1)
