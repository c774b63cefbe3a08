#!/usr/bin/env python3
"""report.py: what bench/run.sh measured, as tables and plots.

usage: report.py DIR    reads raw.csv, samples.csv and machine.txt there,
                        writes table.txt, plot.svg and memory.svg

A ratio is of two figures of one round, a contestant's and jemalloc's; given are the median of
the rounds and the lowest and the highest. A geometric mean is over the rows in which both have
a ratio; it says over how many. What failed has no figure, and is counted."""
import collections
import csv
import math
import os
import sys

from picture import Picture, Spread, aligned, cell, spread

BASE = "jemalloc"
LARGE_KIB = 30 * 1024
COLOURS = {"glibc": "#777777", "jemalloc": "#000000", "mimalloc": "#0072b2",
           "tcmalloc": "#e69f00", "polder": "#d55e00"}
SPARE = ["#009e73", "#cc79a7", "#56b4e9", "#8a6d3b"]

Run = collections.namedtuple("Run", "round row how who status figures")


class Results:
    """All runs, and the questions that the tables ask of them."""

    def __init__(self, path):
        self.runs = []
        with open(path, newline="") as file:
            for line in csv.DictReader(file):
                figures = {name: float(line[name]) for name in
                           ("ns", "wall_ms", "cpu_ms", "peak_kib", "end_kib") if line[name]}
                self.runs.append(Run(int(line["round"]), line["row"], line["how"],
                                     line["contestant"], line["status"], figures))
        self.rows = list(dict.fromkeys(run.row for run in self.runs))
        self.how = {run.row: run.how for run in self.runs}
        who = dict.fromkeys(run.who for run in self.runs)
        self.contestants = sorted(who, key=lambda name: (list(COLOURS) + list(who)).index(name))
        self.base = BASE if BASE in who else self.contestants[0]
        self.found = collections.defaultdict(dict)
        for run in self.runs:
            for name, value in run.figures.items():
                self.found[run.row, run.who, name][run.round] = value

    def figure(self, row, who, name):
        return spread(list(self.found[row, who, name].values()))

    def ratio(self, row, who, name):
        own, base = self.found[row, who, name], self.found[row, self.base, name]
        return spread([own[r] / base[r] for r in own if r in base and base[r] > 0 and own[r] > 0])

    def rows_with(self, name, test=lambda row: True):
        return [row for row in self.rows
                if test(row) and any(self.found[row, who, name] for who in self.contestants)]

    def large(self, row):
        peak = self.figure(row, self.base, "peak_kib")
        return peak is not None and peak.middle > LARGE_KIB

    def mean(self, rows, who, name):
        """The geometric mean of the ratios, and over how many rows."""
        ratios = [ratio.middle for ratio in (self.ratio(row, who, name) for row in rows) if ratio]
        if not ratios:
            return None, 0
        return math.exp(sum(map(math.log, ratios)) / len(ratios)), len(ratios)

    def means(self):
        """(title, rows, figure) of each geometric mean."""
        of = lambda how: lambda row: self.how[row] == how
        yield "time, all rows", self.rows_with("ns"), "ns"
        yield "time, workloads", self.rows_with("ns", of("time")), "ns"
        yield "time, programs", self.rows_with("ns", of("program")), "ns"
        yield "CPU time, all rows", self.rows_with("cpu_ms"), "cpu_ms"
        yield "peak RSS, all rows", self.rows_with("peak_kib"), "peak_kib"
        yield "peak RSS, rows over 30 MiB", self.rows_with("peak_kib", self.large), "peak_kib"
        yield "RSS at the end, all workloads", self.rows_with("end_kib"), "end_kib"
        yield "RSS after decay, shrink rows", self.rows_with(
            "end_kib", lambda row: row.startswith("shrink-")), "end_kib"


# --- Text --------------------------------------------------------------------------------

def table(results, title, rows, columns):
    """Columns: contestants; columns(row, who) is a cell."""
    lines = [[title] + results.contestants]
    lines += [[row] + [columns(row, who) for who in results.contestants] for row in rows]
    return aligned(lines)


def unit_cell(results, row, who):
    """Nanoseconds an operation, but milliseconds for a program."""
    return cell(results.figure(row, who, "ns"), 1e6 if results.how[row] == "program" else 1)


def means_table(results):
    lines = [["geometric mean"] + results.contestants]
    for title, rows, name in results.means():
        found = [results.mean(rows, who, name) for who in results.contestants]
        lines.append([f"{title} ({len(rows)})"] + [
            "-" if mean is None else f"{mean:.3f}" + (f" of {count}" if count < len(rows) else "")
            for mean, count in found])
    return aligned(lines)


def failures(results):
    failed = [run for run in results.runs if run.status != "ok"]
    rounds = max(run.round for run in results.runs)
    text = (f"{len(results.rows)} rows, {rounds} rounds, {len(results.runs)} runs; "
            f"{len(failed)} failed\n")
    counted = collections.Counter((run.row, run.who, run.status) for run in failed)
    return text + "".join(f"  {row} under {who}: {status}, {count} of {rounds}\n"
                          for (row, who, status), count in counted.items())


def write_table(results, machine, path):
    base = results.base
    timed = results.rows_with("ns")
    parts = [machine, failures(results), means_table(results),
             table(results, f"time / {base}'s", timed,
                   lambda row, who: cell(results.ratio(row, who, "ns"))),
             table(results, "time: ns an operation, ms a program", timed,
                   lambda row, who: unit_cell(results, row, who)),
             table(results, f"peak RSS / {base}'s", results.rows_with("peak_kib"),
                   lambda row, who: cell(results.ratio(row, who, "peak_kib"))),
             table(results, "peak RSS, MiB", results.rows_with("peak_kib"),
                   lambda row, who: cell(results.figure(row, who, "peak_kib"), 1024)),
             table(results, "RSS at the end, MiB", results.rows_with("end_kib"),
                   lambda row, who: cell(results.figure(row, who, "end_kib"), 1024))]
    text = "\n".join(parts)
    with open(path, "w") as file:
        file.write(text)
    return text


# --- SVG ---------------------------------------------------------------------------------

SHAPES = {"glibc": "square", "mimalloc": "up", "tcmalloc": "down", "polder": "circle"}


def colour_of(results, who):
    spare = [name for name in results.contestants if name not in COLOURS]
    return COLOURS.get(who) or SPARE[spare.index(who) % len(SPARE)]


def shape_of(who):
    return SHAPES.get(who, "diamond")


def legend(results, picture, x, y, marks=True):
    for who in results.contestants:
        colour = colour_of(results, who)
        if marks and who != results.base:
            picture.mark(x, y - 4, shape_of(who), colour)
        else:
            picture.line(x - 7, y - 4, x + 7, y - 4, colour, 2)
        picture.text(x + 11, y, who + (" = 1" if marks and who == results.base else ""))
        x += 100


class Dots:
    """A panel of ratios on a logarithmic scale; what is beyond its ends stands there as < or >."""
    ROW = 17

    def __init__(self, results, picture, left, top, width, name, title, doublings):
        self.steps = [2.0 ** n for n in range(-doublings, doublings + 1)]
        self.results, self.picture, self.name = results, picture, name
        self.left, self.top, self.width = left, top, width
        picture.text(left + width / 2, top - 24, title, "middle", 'font-weight="bold"')

    def at(self, ratio):
        first, last = math.log(self.steps[0]), math.log(self.steps[-1])
        part = (math.log(ratio) - first) / (last - first)
        return self.left + self.width * min(max(part, 0), 1)

    def grid(self, bottom):
        for step in self.steps:
            x = self.at(step)
            colour = colour_of(self.results, self.results.base) if step == 1 else "#dddddd"
            self.picture.line(x, self.top - 6, x, bottom, colour)
            label = f"{step:g}" if step >= 1 else f"1/{1 / step:g}"
            self.picture.text(x, self.top - 9, label, "middle", 'font-size="9"')

    def dot(self, y, who, found):
        picture, colour = self.picture, colour_of(self.results, who)
        picture.line(self.at(found.low), y, self.at(found.high), y, colour, 2, 'opacity="0.45"')
        picture.mark(self.at(found.middle), y, shape_of(who), colour)
        if found.middle > self.steps[-1] or found.middle < self.steps[0]:
            picture.text(self.at(found.middle) + 7, y + 4, f"{found.middle:.2g}",
                         more='font-size="9"')

    def row(self, y, found_by):
        others = [who for who in self.results.contestants if who != self.results.base]
        for i, who in enumerate(others):
            found = found_by(who)
            if found:
                self.dot(y + (i - (len(others) - 1) / 2) * 2.4, who, found)


def write_plot(results, path):
    rows, top, left = results.rows, 78, 200
    means = [("geometric mean", "all rows", lambda row: True),
             ("geometric mean", "over 30 MiB", results.large)]
    bottom = top + Dots.ROW * (len(rows) + len(means)) + 14
    picture = Picture(1170, bottom + 16)
    picture.text(left, 20, f"Time and peak resident memory, as a multiple of {results.base}'s: "
                 "medians, with the lowest and highest of the rounds; less is better",
                 more='font-size="13"')
    legend(results, picture, left + 8, 40)
    panels = [Dots(results, picture, left, top, 540, "ns", "time", 6),
              Dots(results, picture, left + 600, top, 330, "peak_kib", "peak RSS", 3)]
    for panel in panels:
        panel.grid(bottom)
    for i, row in enumerate(rows):
        y = top + Dots.ROW * (i + .5)
        if i % 2:
            picture.parts.insert(2, f'<rect x="0" y="{y - Dots.ROW / 2:.1f}" width="1170" '
                                 f'height="{Dots.ROW}" fill="#f5f5f5"/>')
        picture.text(left - 14, y + 4, row, "end")
        for panel in panels:
            panel.row(y, lambda who, p=panel: results.ratio(row, who, p.name))
    for i, (title, which, test) in enumerate(means):
        y = top + Dots.ROW * (len(rows) + i + .5) + 10
        picture.text(left - 14, y + 4, f"{title}, {which}", "end", 'font-weight="bold" font-size="10"')
        for panel in panels:
            def mean(who, p=panel):
                value, _ = results.mean(results.rows_with(p.name, test), who, p.name)
                return value and Spread(value, value, value)
            panel.row(y, mean)
    picture.save(path)


def read_samples(path):
    """(row, who) -> [(seconds, live MiB, resident MiB)], of the last round that has any."""
    found = collections.defaultdict(dict)
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            found[line["row"], line["contestant"]].setdefault(int(line["round"]), []).append(
                (float(line["seconds"]), int(line["live_kib"]) / 1024, int(line["rss_kib"]) / 1024))
    return {key: rounds[max(rounds)] for key, rounds in found.items()}


def write_memory(results, samples, path):
    rows = [row for row in results.rows
            if any(len(samples.get((row, who), [])) > 2 for who in results.contestants)]
    if not rows:
        return
    width, height, left, top = 620, 200, 70, 70
    picture = Picture(width + left + 30, top + len(rows) * (height + 60))
    picture.text(left, 20, "Resident memory over time, MiB; dashed: alive", more='font-size="13"')
    legend(results, picture, left + 8, 40, marks=False)
    for i, row in enumerate(rows):
        memory_panel(results, samples, picture, row, left, top + i * (height + 60), width, height)
    picture.save(path)


def memory_panel(results, samples, picture, row, left, top, width, height):
    """Against seconds, or against the number of the sample when a contestant's time is its own."""
    series = {who: samples[row, who] for who in results.contestants if samples.get((row, who))}
    timed = results.how[row] == "memory"
    xs = {who: [s[0] if timed else n + 1.0 for n, s in enumerate(s_)] for who, s_ in series.items()}
    last = max(max(x) for x in xs.values())
    most = max(max(s[1], s[2]) for s_ in series.values() for s in s_)
    place = lambda x, y: (left + width * x / last, top + height * (1 - y / most))
    step = 10 ** math.floor(math.log10(most))
    step = step if most / step >= 4 else step / 2 if most / step >= 2 else step / 5
    for n in range(int(most / step) + 1):
        y = place(0, n * step)[1]
        picture.line(left, y, left + width, y, "#dddddd")
        picture.text(left - 6, y + 4, f"{n * step:g}", "end")
    picture.text(left, top - 8, row, more='font-weight="bold"')
    for n in range(0, int(last) + 1, max(1, int(last / 12))):
        picture.text(place(n, 0)[0], top + height + 14, str(n), "middle")
    picture.text(left + width, top + height + 28, "seconds" if timed else "phase", "end")
    for who, found in series.items():
        picture.path([place(x, s[2]) for x, s in zip(xs[who], found)], colour_of(results, who))
    first = next(iter(series))
    picture.path([place(x, s[1]) for x, s in zip(xs[first], series[first])], "#444444", 1,
                 'stroke-dasharray="4 3"')


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: report.py DIR")
    place = lambda name: os.path.join(sys.argv[1], name)
    results = Results(place("raw.csv"))
    with open(place("machine.txt")) as file:
        machine = file.read()
    print(write_table(results, machine, place("table.txt")), end="")
    write_plot(results, place("plot.svg"))
    write_memory(results, read_samples(place("samples.csv")), place("memory.svg"))
    print(f"\nwritten: table.txt, plot.svg, memory.svg, raw.csv, samples.csv in {sys.argv[1]}")


main()
