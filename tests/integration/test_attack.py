"""Clients, signals and tiers that mean harm: nothing crashes, nothing hangs, memory stays within its bounds."""
import signal
import time

from harness.context import limit
from harness.resp import encode


def end_by_force(server, seconds=20):
    """SIGTERM while something cannot end: status 1, soon after drain-timeout."""
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(seconds)
    server.expect_exit = None
    assert status == 1, f"status {status}:\n{server.log_tail()}"
    return time.monotonic() - begin


@limit(240)
def test_end_while_writes_wait_for_a_tier(t):
    """Drain runs out of time: what waits in a queue, a line or a flight ends with the tiers, not after them."""
    redis, postgres = t.redis(), t.postgres()
    for service, harm in ((redis, "freeze"), (postgres, "freeze"), (redis, "kill9"), (postgres, "kill9")):
        server = t.pannierd("--drain-timeout", "300ms", "--threads", "2", l2=redis, l3=postgres).wait_tiers()
        with server.connect() as c:
            getattr(service, harm)()
            c.send(b"".join(encode("SET", f"a{i}", "v") + encode("SET", f"a{i}", "w", "NX") + encode("GET", f"g{i}")
                            + encode("DEL", f"d{i}") for i in range(300)))
            time.sleep(0.1)
            took = end_by_force(server)
            assert took < 5, f"the end took {took:.1f} s"
        service.thaw()
        if harm == "kill9":
            service.start()
