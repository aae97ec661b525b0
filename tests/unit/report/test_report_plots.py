"""Pictures: what is drawn, and that the same data give the same bytes."""

from itertools import pairwise

import matplotlib
import pytest

from ptft.errors import DataError
from ptft.report.drawing import LEVEL_LOOK, curve_look, running_mean
from ptft.report.plots import label_efficiency, loss_curve, save, shot_curve


def curve_record(**changes):
    return {"task": "t", "test": "test", "method": "pretrained", "labels": 16, "seed": 0, "value": 0.7, "low": 0.6,
            "high": 0.8, **changes}  # fmt: skip


def shot_record(**changes):
    return {"task": "t", "k": 0, "seed": 0, "template": "", "method": "direct", "value": 0.5, "low": 0.4, "high": 0.6,
            "n": 100, "majority": 0.5, **changes}  # fmt: skip


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def legend_names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def levels(axes):
    return [line.get_ydata()[0] for line in axes.lines if line.get_color() == LEVEL_LOOK["color"]]


def test_the_same_data_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        save(shot_curve([shot_record(), shot_record(k=4)]), tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert b"Software" not in content and b"matplotlib" not in content.lower()


def test_a_picture_is_written_as_svg_too(tmp_path):
    for name in ("a.svg", "b.svg"):
        save(label_efficiency([curve_record()]), tmp_path / name)
    content = (tmp_path / "a.svg").read_text()
    assert content == (tmp_path / "b.svg").read_text()
    assert "<svg" in content and "<dc:date>" not in content


def test_a_users_own_settings_do_not_change_the_picture_and_stay(tmp_path):
    save(label_efficiency([curve_record()]), tmp_path / "a.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        save(label_efficiency([curve_record()]), tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_dollar_signs_and_unknown_scripts_are_drawn_as_text(tmp_path):
    save(shot_curve([shot_record(task=r"costs $\frac$ 한국 𐎀")]), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_an_objective_of_two_parts_has_a_panel_for_each_and_the_total():
    lines = [{"step": 1, "tokens": 10, "loss": 7.7, "masked_lm.loss": 7.0, "next_sentence.loss": 0.7}]
    assert titles(loss_curve({"run": lines})) == ["total loss", "masked_lm loss", "next_sentence loss"]


def test_short_names_of_evaluations_meet_the_parts_they_measure():
    lines = [
        {"step": 1, "tokens": 10, "loss": 7.7, "masked_lm.loss": 7.0, "next_sentence.loss": 0.7,
         "valid.mlm.loss": 7.1, "valid.nsp.loss": 0.8},
    ]  # fmt: skip
    figure = loss_curve({"run": lines})
    assert titles(figure) == ["total loss", "masked_lm loss", "next_sentence loss"]
    assert [list(axes.lines[-1].get_ydata()) for axes in figure.axes] == [[7.7], [7.1], [0.8]]
    assert legend_names(figure) == ["training", "validation"]


def test_a_single_part_is_drawn_once_with_its_validation():
    lines = [{"step": 1, "tokens": 10, "loss": 5.0, "valid.clm.loss": 5.5}]
    [axes] = loss_curve({"run": lines}).axes
    assert axes.get_title(loc="left") == "causal_lm loss"
    assert [list(line.get_ydata()) for line in axes.lines] == [[5.0], [5.5]]


def test_runs_of_one_objective_share_a_panel_and_have_names():
    lines = [{"step": 1, "tokens": 10, "loss": 5.0}, {"step": 2, "tokens": 20, "loss": 4.0}]
    figure = loss_curve({"first": lines, "second": lines})
    assert len(figure.axes) == 1
    assert legend_names(figure) == ["first", "second"]


def test_losses_lie_over_tokens_with_a_unit():
    lines = [{"step": step, "tokens": step * 1_000_000, "loss": 1.0} for step in (1, 2)]
    [axes] = loss_curve({"run": lines}).axes
    assert axes.get_xlabel() == "tokens seen (millions)"
    assert axes.get_ylabel() == "loss (nats)"
    assert list(axes.lines[-1].get_xdata()) == [1_000_000, 2_000_000]


def test_without_tokens_losses_lie_over_steps():
    [axes] = loss_curve({"run": [{"step": 3, "loss": 1.0}]}).axes
    assert axes.get_xlabel() == "optimizer steps"


def test_a_step_logged_twice_counts_once_and_numbers_that_are_none_do_not_count():
    lines = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": float("nan")},
        {"step": 1, "loss": 2.0},
        {"step": 3, "loss": "x"},
    ]
    [axes] = loss_curve({"run": lines}).axes
    assert list(axes.lines[-1].get_ydata()) == [2.0]


def test_the_running_mean_keeps_a_constant_and_the_length():
    assert running_mean([2.0] * 7, 3) == [2.0] * 7
    assert running_mean([1.0, 5.0], 1) == [1.0, 5.0]


def test_each_task_and_test_set_has_a_panel_and_each_method_a_line():
    rows = [curve_record(task=task, test=test, method=method) for task in ("a", "b") for test in ("L", "H")
            for method in ("scratch", "pretrained")]  # fmt: skip
    figure = label_efficiency(rows)
    assert titles(figure) == ["a, test set L", "a, test set H", "b, test set L", "b, test set H"]
    assert all(len(axes.containers) == 2 for axes in figure.axes)
    assert legend_names(figure) == ["pretrained", "scratch"]


METHODS = ["scratch", "frozen", "last_k", "full", "gradual_unfreezing", "layerwise_lr", "lora", "scalar_mix",
           "auxiliary_lm", "tfidf", "majority", "prompting"]  # fmt: skip


def test_many_methods_have_wide_panels_a_scale_of_their_own_and_a_short_legend():
    rows = [curve_record(method=method, test=test) for method in METHODS for test in ("L", "H")]
    figure = label_efficiency(rows)
    assert [axes.get_subplotspec().get_gridspec().ncols for axes in figure.axes] == [1, 1]
    assert 0.55 < figure.axes[0].get_ylim()[0] < 0.6
    figure.draw_without_rendering()
    extent = figure.legends[0].get_window_extent()
    assert (extent.x0 >= 0) and (extent.x1 <= figure.bbox.width)
    assert extent.height < 0.12 * figure.bbox.height
    few = label_efficiency([curve_record(method=method) for method in METHODS[:3]])
    assert few.axes[0].get_ylim()[0] < 0


def test_lines_are_told_apart_without_colour():
    looks = [curve_look(index) for index in range(13)]
    assert len({look["marker"] for look in looks}) == 13
    assert all(one["linestyle"] != other["linestyle"] for one, other in pairwise(looks))


def test_a_method_that_is_the_majority_needs_no_level():
    figure = label_efficiency([curve_record(method=name, majority=0.25) for name in ("tfidf", "majority")])
    assert levels(figure.axes[0]) == []
    assert legend_names(figure) == ["tfidf", "majority"]


def test_labels_stand_at_equal_distances_when_they_double():
    [axes] = label_efficiency([curve_record(labels=count) for count in (1024, 0, 256, 512)]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "256", "512", "1,024"]
    first, *rest = axes.get_xticks()
    assert [place - first for place in rest] == pytest.approx([1, 2, 3])


def test_the_majority_of_the_records_is_a_level():
    figure = label_efficiency([curve_record(majority=0.25)], majority={"test.majority": 0.9})
    assert levels(figure.axes[0]) == [0.25]
    assert legend_names(figure)[-1] == "always the most frequent answer"


def test_a_majority_among_the_figures_is_a_level_too():
    rows = [curve_record(), curve_record(task="u")]
    figure = label_efficiency(rows, majority={"test.majority": 0.5, "u.test.majority": 0.125})
    assert [levels(axes) for axes in figure.axes] == [[0.5], [0.125]]


def test_ratios_are_drawn_from_zero_to_one():
    [axes] = label_efficiency([curve_record()]).axes
    assert axes.get_ylim() == pytest.approx((-0.02, 1.03))
    assert axes.get_ylabel() == "accuracy"


def test_a_negative_correlation_stays_in_the_picture():
    [axes] = label_efficiency([curve_record(value=-0.3, low=-0.5, high=-0.1, metric="mcc")]).axes
    assert axes.get_ylim()[0] < -0.5
    assert axes.get_ylabel() == "mcc"


def test_tasks_of_one_method_share_a_panel():
    figure = shot_curve([shot_record(task=task, k=k) for task in ("a", "b") for k in (0, 1, 2)])
    assert titles(figure) == [""]
    assert legend_names(figure) == ["a", "b", "always the most frequent answer"]
    assert levels(figure.axes[0]) == [0.5]


def test_several_methods_have_a_panel_for_each_task():
    figure = shot_curve([shot_record(task=task, method=method) for task in ("a", "b") for method in ("x", "y")])
    assert titles(figure) == ["a", "b"]
    assert legend_names(figure)[:2] == ["x", "y"]


@pytest.mark.parametrize(("draw", "key"), [(label_efficiency, "labels"), (shot_curve, "k")])
def test_records_without_measurements_are_refused(draw, key):
    with pytest.raises(DataError, match=f"nothing to draw: no record holds numbers under '{key}' and 'value'"):
        draw([{"task": "t"}])


def test_a_log_without_losses_is_refused():
    with pytest.raises(DataError, match=r"nothing to draw: no line of metrics.jsonl holds 'loss'"):
        loss_curve({"run": [{"step": 1, "tokens": 2, "lr": 0.1}]})
