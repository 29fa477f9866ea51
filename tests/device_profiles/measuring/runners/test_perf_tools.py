"""Reading the output of the engines' benchmark programs, in the formats of their sources."""

from __future__ import annotations

import pytest

from device_profiles.measuring.reported import LONGEST_US, SHORTEST_US
from device_profiles.measuring.runners.perf_tools import PERF_TOOLS, MnnModuleBasic, OnnxRuntimePerfTest

ORT_OUTPUT = """Setting intra_op_num_threads to 1
Session creation time cost: 0.169475 s
First inference time cost: 109 ms
Total inference time cost: 0.0727021 s
Total inference requests: 5
Average inference time cost total: 7.270205 ms
Total inference run time: 0.0727619 s
Number of inferences per second: 137.435
Avg CPU usage: 62 %
Peak working set size: 91336704 bytes
"""
ORT_ROWS = """model-factory,0.0091,91336704,62,0
model-factory,0.0081,91336704,62,1
model-factory,0.0074,91336704,62,2
model-factory,0.0073,91336704,62,3
model-factory,9.5e-05,91336704,62,4
"""
ORT_STATISTICS = (
    "Min Latency: 0.00720383 s\nMax Latency: 0.00730163 s\nP50 Latency: 0.00727787 s\nP90 Latency: 0.0073 s\n"
)
OLD_ORT_OUTPUT = """Total time cost:58.8053
Total iterations:1000
Average time cost:58.8053 ms
P50 Latency is 0.0587108sec
"""
MNN_OUTPUT = """Test 1.mnn from input info: input.7
image
output: logits
precision=0 in main, 236
main, 265, cost time: 12.345000 ms
Run for 0 time
Avg= 3.250000 ms, min= 3.100000 ms, max= 4.000000 ms
"""


def test_single_runs_come_from_the_result_file_without_the_first_three() -> None:
    reading = OnnxRuntimePerfTest().parse(ORT_OUTPUT + ORT_ROWS)
    assert reading.runs_us == pytest.approx((7300.0, 95.0))
    assert reading.load_us == pytest.approx(169_475.0)


def test_without_a_result_file_the_median_counts_as_one_run() -> None:
    assert OnnxRuntimePerfTest().parse(ORT_OUTPUT + ORT_STATISTICS).runs_us == pytest.approx((7277.87,))


def test_without_a_median_the_average_counts_as_one_run() -> None:
    assert OnnxRuntimePerfTest().parse(ORT_OUTPUT).runs_us == pytest.approx((7270.205,))
    assert OnnxRuntimePerfTest().parse(ORT_OUTPUT.replace("cost total", "cost")).runs_us == pytest.approx((7270.205,))


def test_the_oldest_format_is_read_too_but_has_no_load_time() -> None:
    reading = OnnxRuntimePerfTest().parse(OLD_ORT_OUTPUT)
    assert reading.runs_us == pytest.approx((58_710.8,))
    assert reading.load_us is None


def test_mnn_gives_its_average_and_the_time_to_load() -> None:
    reading = MnnModuleBasic().parse(MNN_OUTPUT)
    assert reading.runs_us == (3250.0,)
    assert reading.load_us == 12_345.0


@pytest.mark.parametrize(
    "text", ["", "nonsense", "a,b,c,d,e", "P50 Latency: fast s", "P50 Latency: " + "9" * 5000 + " s", "Avg= x ms"]
)
@pytest.mark.parametrize("engine", sorted(PERF_TOOLS))
def test_nothing_is_read_from_other_output(engine: str, text: str) -> None:
    reading = PERF_TOOLS[engine].parse(text)
    assert (reading.runs_us, reading.load_us) == ((), None)


@pytest.mark.parametrize("time", ["nan", "0", "-1", "1e300", "9" * 400, "x"])
def test_a_row_with_an_implausible_time_is_not_left_out(time: str) -> None:
    """Whoever called the program refuses it, and names the phone."""
    (run,) = OnnxRuntimePerfTest().parse(f"m,{time},1,1,0\n").runs_us
    assert not SHORTEST_US <= run <= LONGEST_US


def test_the_version_of_onnxruntime_is_in_the_symbols_of_its_library() -> None:
    assert OnnxRuntimePerfTest().version_in(b"\x7fELF\0VERS_1.22.0\0libc.so") == "1.22.0"
    assert OnnxRuntimePerfTest().version_in(b"\x7fELF\0VERS_1.0\0") is None
    assert MnnModuleBasic().version_in(b"3.6.1\0") is None
