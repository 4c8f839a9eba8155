"""A method that waits to be killed, for tests of what happens to a study then; workers import it from here."""

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from manifold_id.methods import Method, State

AT = 20


@dataclass(frozen=True)
class Waiting(Method):
    """Plain steps; whoever comes to step 20 first leaves its process id in the file `path`, and waits for its end."""

    path: str
    lr: float = 0.05

    def init(self, w0):
        return State(0, w0, w0, 0 * w0)

    def update(self, oracle, state, regularizer):
        if state.t == AT and not os.path.exists(self.path):
            draft = f"{self.path}.{os.getpid()}"
            Path(draft).write_text(str(os.getpid()))
            with contextlib.suppress(FileExistsError):
                os.link(draft, self.path)  # whole, and by one process alone
                time.sleep(300)
        g = oracle(state.w)
        w = regularizer.prox(state.w - self.lr * g, self.lr)
        return State(state.t + 1, w, w, g)


@contextlib.contextmanager
def killed(path, how=signal.SIGKILL):
    """Meanwhile send the signal to the process that waits; gives the list of whom it was sent to."""
    found, over = [], threading.Event()

    def watch():
        while not over.wait(0.01):
            if os.path.exists(path):
                found.append(int(Path(path).read_text()))
                os.kill(found[0], how)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
