#!/usr/bin/env python3
"""collectors_report.py: what bench/collectors.sh measured, as tables and plots.

usage: collectors_report.py DIR    reads collectors-{raw,samples,latencies,stops}.csv and
                                   collectors-machine.txt there, writes collectors.txt and
                                   collectors-{memory,pauses,latencies}.svg

Figures are the median of the rounds, with the lowest and the highest in brackets. A ratio is of
two figures of one round. What failed has no figure, and is counted."""
import collections
import csv
import math
import os
import statistics
import sys

from picture import Picture, aligned, cell, short, spread

COLOURS = {"polder": "#d55e00", "polder-50": "#e69f00", "jemalloc": "#000000", "bdwgc": "#0072b2",
           "go": "#009e73", "go-spins": "#56b4e9"}
OTHER = "#cc79a7"
MAIN = ["polder", "jemalloc", "bdwgc", "go"]


class Results:
    def __init__(self, path):
        self.found = collections.defaultdict(dict)
        self.status = {}
        self.rows, self.who, self.commits = [], {}, {}
        with open(path, newline="") as file:
            for line in csv.DictReader(file):
                row, who, n = line["row"], line["contestant"], int(line["round"])
                if row not in self.rows:
                    self.rows.append(row)
                if who not in self.who.setdefault(row, []):
                    self.who[row].append(who)
                self.commits[line["commit"]] = True
                if line["name"] == "status":
                    self.status[row, who, n] = line["value"]
                    continue
                try:
                    self.found[row, who, line["name"]][n] = float(line["value"])
                except ValueError:
                    pass
        rank = list(COLOURS)
        for who in self.who.values():
            who.sort(key=lambda name: rank.index(name) if name in rank else len(rank))

    def figure(self, row, who, name):
        return spread(list(self.found[row, who, name].values()))

    def middle(self, row, who, name):
        found = self.figure(row, who, name)
        return found.middle if found else None

    def ratio(self, row, name, who, other, other_name=None):
        own, base = self.found[row, who, name], self.found[row, other, other_name or name]
        return spread([own[n] / base[n] for n in own if base.get(n, 0) > 0])

    def derived(self, row, who, function, *names):
        """Of figures of one round: function(*figures)."""
        rounds = set.intersection(*(set(self.found[row, who, name]) for name in names))
        return spread([function(*(self.found[row, who, name][n] for name in names))
                       for n in sorted(rounds)])


# --- Text --------------------------------------------------------------------------------

def count_runs(results):
    failed = {key: status for key, status in results.status.items() if status != "ok"}
    text = f"{len(results.rows)} rows, {len(results.status)} runs; {len(failed)} failed\n"
    return text + "".join(f"  {row} under {who} in round {n}: {status}\n"
                          for (row, who, n), status in failed.items())


# title, rows' prefix, figure, whether more is better
PLAIN = [("trees and mix: million nodes a second", ("trees-", "mix-"), "mnodes_s", True),
         ("objects that die at once: ns each, of a thread's time", ("die-",), "ns", False),
         ("full collections of a graph: million objects a second", ("graph-",), "mobj_s", True)]


def plain_table(results, title, prefixes, name, more):
    rows = [row for row in results.rows if row.startswith(prefixes)]
    lines = [[title] + MAIN + [f"polder {'/' if more else ': '} {other}" for other in MAIN[1:]]]
    for row in rows:
        cells = [cell(results.figure(row, who, name)) for who in MAIN]
        lines.append([row] + cells + [cell(results.ratio(row, name, "polder", other))
                                      for other in MAIN[1:]])
    return aligned(lines) if rows else ""


def bound_table(results):
    rows = [row for row in results.rows if row.startswith("graph-")]
    lines = [["Polder's marking beside the bare loop's", "stopped", "concurrent", "bare loop",
              "ratio"]]
    for row in rows:
        bound = f"bound{row[-1]}_mobj_s"
        lines.append([row, cell(results.figure(row, "polder", "stopped_mobj_s")),
                      cell(results.figure(row, "polder", "concurrent_mobj_s")),
                      cell(results.figure(row, "polder", bound)),
                      cell(results.ratio(row, "mobj_s", "polder", "polder", bound))])
    return aligned(lines) if rows else ""


def per_live(results, row, who):
    return results.derived(row, who, lambda peak, live: peak / live, "peak_kib", "live_kib")


CACHE = [("Mops/s", "mops_s", 1), ("CPU s", "cpu_s", 1), ("collections", "collections", 1),
         ("longest stop, us", "stop_us_max", 1), ("longest gap, ms", "gap_us_max", 1e3),
         ("... net", "gap_net_us_max", 1e3), ("p99.9 us", "p999_us", 1),
         ("utilization of 10 ms: least", "util_min", 1), ("... net", "util_net_min", 1),
         ("... net, worst 1 %", "util_net_p1", 1), ("queued ms", "queued_ms", 1),
         ("steal ms", "steal_ms", 1)]
RATE = [("rate/s", "rate", 1), ("kept", "kept", 1), ("p50 us", "p50_us", 1), ("p99", "p99_us", 1),
        ("p99.9", "p999_us", 1), ("p99.99", "p9999_us", 1), ("max", "max_us", 1), ("CPU s", "cpu_s", 1),
        ("longest stop, us", "stop_us_max", 1), ("longest gap, ms", "gap_us_max", 1e3),
        ("... net", "gap_net_us_max", 1e3), ("utilization of 10 ms: least", "util_min", 1),
        ("... net", "util_net_min", 1), ("steal ms", "steal_ms", 1)]


def server_table(results, row, title, columns):
    if row not in results.rows:
        return ""
    who = results.who[row]
    lines = [[title] + who]
    for label, name, scale in columns:
        lines.append([label] + [cell(results.figure(row, one, name), scale) for one in who])
    lines.append(["peak RSS / live"] + [cell(per_live(results, row, one)) for one in who])
    return aligned(lines)


def freed_per_cpu(results, who, kind):
    """MiB for each second of the collector's threads, of its cycles of a kind."""
    return results.derived("old", who, lambda mib, ms: mib / ms * 1e3, f"{kind}_freed_mib",
                           f"{kind}_ms")


def young_gain(results):
    young = freed_per_cpu(results, "polder-young", "young")
    full = freed_per_cpu(results, "polder-full", "concurrent")
    return young and full and spread([young.middle / full.middle])


def old_table(results):
    if "old" not in results.rows:
        return ""
    names = [("million objects/s", "mobjects_s"), ("objects / CPU us", "objects_per_cpu_us"),
             ("freed MiB / collector CPU s", "freed_mib_per_cpu_s"), ("collections", "collections"),
             ("longest stop, us", "stop_us_max")]
    who = results.who["old"]
    lines = [["young garbage beside an old structure"] + who]
    for label, name in names:
        lines.append([label] + [cell(results.figure("old", one, name)) for one in who])
    for kind, label in (("young", "young"), ("concurrent", "full")):
        lines.append([f"{label} cycles: freed MiB / CPU s"] +
                     [cell(freed_per_cpu(results, one, kind)) for one in who])
        lines.append([f"{label} cycles"] +
                     [cell(results.figure("old", one, f"{kind}_cycles")) for one in who])
    return aligned(lines)


def read_stops(path):
    """who -> MiB -> [us]"""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            found[line["contestant"]][int(line["mib"])].append(float(line["us"]))
    return found


def slope_per_gib(sizes):
    """Of the least squares through the medians, in us a GiB."""
    points = [(mib / 1024, statistics.median(times)) for mib, times in sizes.items()]
    if len(points) < 2:
        return None
    x, y = (statistics.mean(column) for column in zip(*points))
    return (sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points))


def stops_table(stops):
    if not stops:
        return ""
    sizes = sorted({mib for found in stops.values() for mib in found})
    lines = [["stops, us, by MiB alive; 64 threads that sleep"] + [str(mib) for mib in sizes] +
             ["us a GiB"]]
    for who, found in stops.items():
        slope = slope_per_gib(found)
        lines.append([who] + [cell(spread(found.get(mib))) for mib in sizes] +
                     [short(slope) if slope and slope > 0 else "-" if slope is None else f"{slope:.2f}"])
    return aligned(lines)


def barrier_table(results):
    lines = [["the barrier", "with", "without", "more"]]
    for who, title in (("count-stores", "instructions of a loop with a store, no collection"),
                       ("count-cache", "instructions a cache operation, no collection")):
        own, base = (results.middle("barrier", who, name) for name in
                     ("instructions", "plain_instructions"))
        if own:
            more = f"{100 * (own / base - 1):.2f} %" if who == "count-cache" else short(own - base)
            lines.append([title, short(own), short(base), more])
    slower = results.ratio("marking", "mops_s", "polder", "polder-plain")
    if slower:
        lines.append(["cache while always marking, Mops/s",
                      cell(results.figure("marking", "polder", "mops_s")),
                      cell(results.figure("marking", "polder-plain", "mops_s")),
                      f"{100 * (1 - slower.middle):.1f} % slower"])
    return aligned(lines) if len(lines) > 1 else ""


def map_table(results):
    rows = [row for row in results.rows if row.startswith("map-")]
    maps = ["race-polder", "race-rcu", "race-locks"]
    lines = [["lock-free map: Mops/s (threads, % look-ups)"] + [who[5:] for who in maps] +
             [f"polder / {who[5:]}" for who in maps[1:]] + ["CPU ns: polder", "rcu", "locks"]]
    for row in rows:
        lines.append([row] + [cell(results.figure(row, who, "mops")) for who in maps] +
                     [cell(results.ratio(row, "mops", maps[0], who)) for who in maps[1:]] +
                     [cell(results.figure(row, who, "cpu_ns")) for who in maps])
    return aligned(lines) if rows else ""


# --- What is asked of it -----------------------------------------------------------------------

def least(found, bar):
    return found and (found.middle, found, found.middle >= bar, f">= {bar:g}")


def most(found, bar):
    return found and (found.middle, found, found.middle <= bar, f"<= {bar:g}")


def asked(results, stops):
    ratio, figure = results.ratio, results.figure
    yield "cache: throughput / Go's", least(ratio("cache", "mops_s", "polder", "go"), 2)
    yield "cache: throughput / bdwgc's", least(ratio("cache", "mops_s", "polder", "bdwgc"), 5)
    yield "cache: throughput / jemalloc's", least(ratio("cache", "mops_s", "polder", "jemalloc"), .75)
    yield "cache: longest stop, us", most(figure("cache", "polder", "stop_us_max"), 300)
    yield "cache: peak RSS / live", most(per_live(results, "cache", "polder"), 2.05)
    yield "cache: peak RSS / live, 50 %", most(per_live(results, "cache", "polder-50"), 1.6)
    yield "cache: throughput at 50 % / 100 %", least(
        ratio("cache", "mops_s", "polder-50", "polder"), .85)
    yield "rate: p99.9 / jemalloc's", most(ratio("cache-rate", "p999_us", "polder", "jemalloc"), 2)
    yield "rate: max / jemalloc's", most(ratio("cache-rate", "max_us", "polder", "jemalloc"), 3)
    yield "rate: least utilization of 10 ms, net", least(
        figure("cache-rate", "polder", "util_net_min"), .6)
    for n in (1, 2):
        row = f"graph-random-{n}"
        yield f"random graph, {n} marker(s): of the bare loop", least(
            ratio(row, "mobj_s", "polder", "polder", f"bound{n}_mobj_s"), .85)
        yield f"random graph, {n} marker(s): / bdwgc's", least(
            ratio(row, "mobj_s", "polder", "bdwgc"), 4)
    for row in ("trees-1", "trees-2", "mix-2"):
        for other, bar in (("jemalloc", 1), ("bdwgc", 1.5), ("go", 3)):
            yield f"{row}: / {other}'s", least(ratio(row, "mnodes_s", "polder", other), bar)
    for nbytes, bar in ((16, 15), (64, 15), (512, 90)):
        for threads in (1, 2):
            yield f"die, {nbytes} B, {threads} thread(s), ns", most(
                figure(f"die-{nbytes}-{threads}", "polder", "ns"), bar)
    slope = slope_per_gib(stops["polder"]) if "polder" in stops else None
    if slope is not None:
        yield "stops: us a GiB (by the clock)", most(spread([slope]), 1)
    own, base = (results.middle("barrier", "count-cache", name)
                 for name in ("instructions", "plain_instructions"))
    if own and base:
        yield "barrier, idle: % more instructions on the cache", most(
            spread([100 * (own / base - 1)]), 1)
    slower = ratio("marking", "mops_s", "polder", "polder-plain")
    yield "barrier, always marking: part of the speed without", least(slower, .95)
    yield "young cycles: freed a CPU second / full cycles'", least(
        young_gain(results), 3)


def asked_table(results, stops):
    lines = [["what is asked", "measured", "bar", ""]]
    met = 0
    for title, found in asked(results, stops):
        if not found:
            continue
        _, figure, holds, bar = found
        met += holds
        lines.append([title, cell(figure), bar, "holds" if holds else "MISSED"])
    return aligned(lines) + f"{met} of {len(lines) - 1} hold\n"


def write_table(results, stops, machine, path):
    parts = [machine]
    if len(results.commits) > 1:
        parts[0] += f"commits    {' '.join(results.commits)} (see collectors-raw.csv)\n"
    parts += [count_runs(results), asked_table(results, stops)]
    parts += [plain_table(results, *plain) for plain in PLAIN]
    parts += [bound_table(results),
              server_table(results, "cache", "cache server, full speed", CACHE),
              server_table(results, "cache-rate", "cache server at a rate", RATE),
              old_table(results), stops_table(stops), barrier_table(results), map_table(results)]
    text = "\n".join(part for part in parts if part)
    with open(path, "w") as file:
        file.write(text)
    return text


# --- SVG ---------------------------------------------------------------------------------

def colour_of(who):
    return COLOURS.get(who, OTHER)


class Panel:
    """Axes with a grid; x and y are functions from values to 0 … 1."""

    def __init__(self, picture, left, top, width, height, title):
        self.picture, self.left, self.top = picture, left, top
        self.width, self.height = width, height
        picture.text(left, top - 10, title, more='font-weight="bold"')

    def at(self, x, y):
        return (self.left + self.width * min(max(x, 0), 1),
                self.top + self.height * (1 - min(max(y, 0), 1)))

    def across(self, y, label):
        _, at = self.at(0, y)
        self.picture.line(self.left, at, self.left + self.width, at, "#dddddd")
        self.picture.text(self.left - 6, at + 4, label, "end")

    def down(self, x, label):
        at, _ = self.at(x, 0)
        self.picture.line(at, self.top, at, self.top + self.height, "#eeeeee")
        self.picture.text(at, self.top + self.height + 15, label, "middle")

    def legend(self, names):
        for i, who in enumerate(names):
            y = self.top + 8 + 15 * i
            self.picture.line(self.left + self.width + 12, y, self.left + self.width + 30, y,
                              colour_of(who), 2.5)
            self.picture.text(self.left + self.width + 36, y + 4, who)


def round_step(most):
    step = 10 ** math.floor(math.log10(most))
    return step if most / step >= 4 else step / 2 if most / step >= 2 else step / 5


def linear_grid(panel, most_x, most_y):
    for most_of, draw in ((most_x, panel.down), (most_y, panel.across)):
        step = round_step(most_of)
        for n in range(int(most_of / step) + 1):
            draw(n * step / most_of, f"{n * step:g}")


def time_label(us):
    return f"{us:g} us" if us < 1e3 else f"{us / 1e3:g} ms" if us < 1e6 else f"{us / 1e6:g} s"


def last_round(path, fields):
    """(row, who) -> [fields of a line], of the last round that there is."""
    found = collections.defaultdict(dict)
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            found[line["row"], line["contestant"]].setdefault(int(line["round"]), []).append(
                tuple(float(line[name]) for name in fields))
    return {key: rounds[max(rounds)] for key, rounds in found.items()}


def write_memory(results, samples, path):
    rows = [row for row in ("cache", "cache-rate") if any(key[0] == row for key in samples)]
    if not rows:
        return
    width, height, left = 700, 260, 70
    picture = Picture(left + width + 120, 60 + len(rows) * (height + 70))
    for i, row in enumerate(rows):
        series = {who: samples[row, who] for who in results.who[row] if (row, who) in samples}
        top = 50 + i * (height + 70)
        most_x = max(point[0] for points in series.values() for point in points)
        most_y = max(point[1] for points in series.values() for point in points) / 1024
        panel = Panel(picture, left, top, width, height,
                      f"{row}: resident memory, MiB, over seconds; dashed: what is alive")
        linear_grid(panel, most_x, most_y)
        for who, points in series.items():
            picture.path([panel.at(x / most_x, y / 1024 / most_y) for x, y in points],
                         colour_of(who))
        live = results.middle(row, "polder", "live_kib")
        if live:
            picture.path([panel.at(0, live / 1024 / most_y), panel.at(1, live / 1024 / most_y)],
                         "#444444", 1, 'stroke-dasharray="4 3"')
        panel.legend(series)
    picture.save(path)


def write_latencies(results, latencies, path):
    rows = [row for row in ("cache-rate", "cache") if any(key[0] == row for key in latencies)]
    if not rows:
        return
    width, height, left, decades, nines = 700, 320, 70, (-1, 7), 6
    picture = Picture(left + width + 120, 60 + len(rows) * (height + 70))
    for i, row in enumerate(rows):
        series = {who: latencies[row, who] for who in results.who[row] if (row, who) in latencies}
        panel = Panel(picture, left, 50 + i * (height + 70), width, height,
                      f"{row}: what part of the operations took longer" +
                      (", from when they were due" if row == "cache-rate" else ""))
        scale = lambda us: (math.log10(us) - decades[0]) / (decades[1] - decades[0])
        for decade in range(decades[0], decades[1] + 1):
            panel.across(scale(10 ** decade), time_label(10.0 ** decade))
        for nine in range(nines + 1):
            panel.down(nine / nines, "all" if not nine else f"1 of {10 ** nine:,}")
        for who, cells in series.items():
            left_over = total = sum(count for _, count in cells)
            points = []
            for us, count in sorted(cells):
                points.append(panel.at(-math.log10(left_over / total) / nines, scale(us)))
                left_over -= count
            picture.path(points, colour_of(who))
        panel.legend(series)
    picture.save(path)


def write_pauses(results, stops, path):
    """Above: the longest stop and gap of each; below: stops by the heap's size."""
    width, height, left, decades = 700, 260, 70, (0, 7)
    picture = Picture(left + width + 120, 60 + 2 * (height + 80))
    panel = Panel(picture, left, 50, width, height, "cache server: the longest stop (square), and "
                  "the longest time that a thread did not get on: raw (ring), net (dot)")
    scale = lambda us: (math.log10(max(us, 1)) - decades[0]) / (decades[1] - decades[0])
    for decade in range(decades[0], decades[1] + 1):
        panel.across(scale(10 ** decade), time_label(10 ** decade))
    bars = [(row, who) for row in ("cache", "cache-rate") for who in results.who.get(row, [])]
    for i, (row, who) in enumerate(bars):
        x = (i + .5) / len(bars)
        panel.down(x, who)
        picture.text(panel.at(x, 0)[0], panel.top + height + 28, "at a rate" if row != "cache" else
                     "full speed", "middle", 'font-size="9"')
        for name, shape in (("stop_us_max", "square"), ("gap_us_max", "ring"),
                            ("gap_net_us_max", "dot")):
            us = results.middle(row, who, name)
            if us is None:
                continue
            at = panel.at(x, scale(us))
            if shape == "ring":
                picture.parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="5" fill="none" '
                                     f'stroke="{colour_of(who)}" stroke-width="1.5"/>')
            else:
                picture.mark(*at, shape, colour_of(who))
    sizes = sorted({mib for found in stops.values() for mib in found})
    if len(sizes) > 1:
        top = 50 + height + 80
        panel = Panel(picture, left, top, width, height, "stops by MiB alive: medians and all")
        across = lambda mib: (math.log2(mib / sizes[0]) + .5) / (math.log2(sizes[-1] / sizes[0]) + 1)
        for decade in range(0, 5):
            panel.across(decade / 4, time_label(10 ** decade))
        for mib in sizes:
            panel.down(across(mib), str(mib))
        for who, found in stops.items():
            for mib, times in found.items():
                for us in times:
                    picture.mark(*panel.at(across(mib), math.log10(max(us, 1)) / 4), "dot", colour_of(who))
            picture.path([panel.at(across(mib), math.log10(max(statistics.median(times), 1)) / 4)
                          for mib, times in sorted(found.items())], colour_of(who))
        panel.legend(stops)
    picture.save(path)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: collectors_report.py DIR")
    place = lambda name: os.path.join(sys.argv[1], "collectors" + name)
    results = Results(place("-raw.csv"))
    stops = read_stops(place("-stops.csv"))
    with open(place("-machine.txt")) as file:
        machine = file.read()
    print(write_table(results, stops, machine, place(".txt")), end="")
    write_memory(results, last_round(place("-samples.csv"), ("seconds", "rss_kib")),
                 place("-memory.svg"))
    write_latencies(results, last_round(place("-latencies.csv"), ("us", "count")),
                    place("-latencies.svg"))
    write_pauses(results, stops, place("-pauses.svg"))
    print(f"\nwritten: collectors.txt and collectors-*.svg, *.csv in {sys.argv[1]}")


main()
