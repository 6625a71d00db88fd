"""Prints each record as a line while the run goes on."""

from __future__ import annotations

from bench.results import Record


class Console:
    """Remembers the scenario, so that a new one gets its heading."""

    def __init__(self) -> None:
        self._scenario = ""

    def show(self, record: Record) -> None:
        if record["scenario"] != self._scenario:
            self._scenario = record["scenario"]
            print(f"\n{self._scenario}", flush=True)
        print(f"  {record['variant']:16} {_line(record)}", flush=True)


def _line(record: Record) -> str:
    if "failed" in record:
        return f"failed: {record['failed'][:300]}"
    return LINES[record["scenario"]](record)


def _traffic(r: Record) -> str:
    load = f"{r['sockets']} sockets x {r['inFlight']}" if "sockets" in r else f"at {r['rate']}/s"
    used = "  ".join(f"{role} {share:.0%}" for role, share in r["serverCpu"].items())
    return (
        f"{load:18} {r['perSecond']:7.0f} msg/s   ack p50 {r['ack']['p50']:.1f} p99 {r['ack']['p99']:.1f} ms   "
        f"delivery p50 {r['delivery']['p50']:.1f} p99 {r['delivery']['p99']:.1f} ms   "
        f"{r['cpuPer1000']:.3f} CPU s/1000   {used}  load {r['loadCpu']:.0%}"
    )


def _fan_out(r: Record) -> str:
    return (
        f"{r['deliveriesPerSecond']:.0f} deliveries/s   complete p50 {r['complete']['p50']:.0f} ms   "
        f"server {r['serverCpu']['server']:.0%}  load {r['loadCpu']:.0%}"
    )


def _idle(r: Record) -> str:
    return f"{r['sockets']} idle sockets: {r['kibPerSocket']:.1f} KiB each (Redis {r['redisKibPerSocket']:.1f})"


def _pages(r: Record) -> str:
    return "   ".join(f"{name} p50 {one['p50']:.2f} ms" for name, one in r["latencies"].items())


def _sizes(r: Record) -> str:
    return f"{r['size']:>9,} messages   {_pages(r)}"


def _storm(r: Record) -> str:
    return f"{r['resumed']['count']} of {r['clients']} resumed in {r['seconds']:.1f} s, errors {r['errors']}"


LINES = {
    "closed loop": _traffic,
    "rate": _traffic,
    "fan-out": _fan_out,
    "idle": _idle,
    "pages": _pages,
    "storm": _storm,
    "stores": _traffic,
    "size": _sizes,
}
