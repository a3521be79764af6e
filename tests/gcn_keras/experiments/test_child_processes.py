"""Commands as processes of their own: a signal reaches them whenever it comes."""

import signal
import subprocess
import sys
import threading

import pytest

from gcn_keras.experiments.child_processes import run_logged
from pipelines.base.errors import Interrupted


def test_a_signal_just_before_the_wait_reaches_the_command(tmp_path, monkeypatch):
    """Python hears of it when the system's wait is over, so that must not last for ever."""
    waits = []
    wait = subprocess.Popen.wait

    def wait_deafly(child, timeout=None):
        # As the system's wait: no handler runs before it is over.
        waits.append(timeout)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            if len(waits) == 1:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
            return wait(child, timeout)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    monkeypatch.setattr(subprocess.Popen, "wait", wait_deafly)
    command = [sys.executable, "-c", "import time; time.sleep(30)"]
    with pytest.raises(Interrupted) as caught:
        run_logged(command, tmp_path / "log")
    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert len(waits) > 1 and None not in waits
