"""``python -m bench``: the whole suite, and docs/performance.md anew. See docs/performance.md for what is measured.

``--quick`` takes a look and writes nothing; ``--full`` adds the growth curves; ``--part NAME``
measures parts alone and joins them with the results that are there; ``--report`` only writes the page.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

from bench.http_check import RESULTS, ROOT, pin
from bench.suite import machine, plots, report
from bench.suite.figures import Results
from bench.suite.parts import PARTS
from bench.suite.scenarios import Options

PAGE: Final = ROOT / "docs" / "performance.md"
README: Final = ROOT / "README.md"
IMAGES: Final = ROOT / "docs" / "images"
USUAL: Final = ("table", "scenarios", "latency", "cost", "footprint")
QUICK: Final = ("table", "latency", "cost")
USUAL_OPTIONS: Final = Options(rounds=5, seconds=1.0)
QUICK_OPTIONS: Final = Options(rounds=1, seconds=0.4)


def result_path(part: str) -> Path:
    """Return where a part's results are kept."""
    return RESULTS / f"suite-{part}.json"


def kept_results() -> Results:
    """Return the results of all parts that were measured once."""
    return {part: json.loads(result_path(part).read_text()) for part in PARTS if result_path(part).exists()}


def measure(part: str, options: Options) -> dict[str, Any]:
    """Measure one part."""
    started = time.perf_counter()

    def tell(words: str) -> None:
        print(f"{part}: {words} ({time.perf_counter() - started:.0f} s)", flush=True)

    return {"machine": machine.described(), "method": options.document(), **PARTS[part](options, tell)}


def write_page() -> None:
    """Write tables and pictures of the kept results."""
    results = kept_results()
    PAGE.write_text(report.fill(PAGE.read_text(), report.page_blocks(results)))
    README.write_text(report.fill(README.read_text(), report.readme_blocks(results)))
    plots.draw(results, IMAGES)
    print(f"written to {PAGE.relative_to(ROOT)}")


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short look, prints only")
    parser.add_argument("--full", action="store_true", help="with the growth curves")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="this part, instead of the usual ones")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, help="of each case in each round")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for, print, and write the page."""
    arguments = parse_arguments()
    usual = QUICK_OPTIONS if arguments.quick else USUAL_OPTIONS
    options = Options(rounds=arguments.rounds or usual.rounds, seconds=arguments.seconds or usual.seconds)
    parts = arguments.part or (QUICK if arguments.quick else USUAL + (("growth",) if arguments.full else ()))
    measured: dict[str, dict[str, Any]] = {}
    pin(-1)
    machine.commit()
    for part in () if arguments.report else parts:
        measured[part] = measure(part, options)
        if not arguments.quick:
            result_path(part).write_text(json.dumps(measured[part], indent=1) + "\n")
    if measured:
        print("\n" + "\n\n".join(report.page_blocks(measured).values()))
    if not arguments.quick:
        write_page()


if __name__ == "__main__":
    main()
