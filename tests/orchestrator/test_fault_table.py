"""Every row of the README's table of faults has tests that cause the fault."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HERE = "tests/orchestrator/"

TESTS: dict[str, tuple[str, ...]] = {
    "A worker process is killed, in any stage": (
        "test_faults.py::test_a_worker_killed_in_every_stage_and_one_that_hangs_change_no_result",
        "../trials/test_snapshots.py::test_a_stage_that_died_at_any_snapshot_ends_as_if_it_had_not",
    ),
    "A process dies that had several short items": (
        "test_short_items.py::test_a_process_that_dies_with_several_items_changes_no_result",
    ),
    "A Ray node dies, or a spot node is taken": (
        "test_nodes.py::"
        "test_other_versions_are_refused_before_anything_is_spent_and_a_dead_node_loses_nothing",
        "test_spot.py::"
        "test_work_waits_for_its_kind_of_node_and_survives_the_loss_of_it_without_a_failure",
    ),
    "A worker node is cut off for 30 s": (
        "test_cut_off.py::test_a_worker_that_is_cut_off_for_30_s_and_comes_back_changes_no_result",
    ),
    "The laptop that submitted is closed": (
        "test_jobs.py::"
        "test_a_submitted_sweep_goes_on_without_the_laptop_is_followed_stopped_and_continued",
    ),
    "No token, or another cluster's": (
        "test_jobs.py::test_without_the_right_token_nothing_is_let_in_and_one_sentence_says_why",
    ),
    "The driver is killed": (
        "test_faults.py::test_a_second_driver_is_refused_and_a_killed_one_is_followed_at_once",
    ),
    "Ctrl-C or SIGTERM": (
        "test_faults.py::test_one_interrupt_ends_cleanly_and_two_at_once",
        "test_faults.py::"
        "test_eight_trials_stopped_at_random_moments_progress_monotonously_and_repeat_no_point",
    ),
    "Two drivers on one sweep": (
        "test_faults.py::test_a_second_driver_is_refused_and_a_killed_one_is_followed_at_once",
        "tracking/test_lease.py::test_a_silent_driver_elsewhere_is_waited_for_and_then_followed",
    ),
    "Memory runs out in a stage, or on the node": (
        "test_faults.py::"
        "test_a_worker_that_eats_all_memory_is_tried_again_with_fewer_images_at_a_time",
        "worker/test_failures.py::test_memory_that_ran_out_halves_the_micro_batch_down_to_one",
        "../trials/test_snapshots.py::test_a_smaller_micro_batch_goes_on_from_what_was_saved",
    ),
    "A stage raises, or gives NaN": (
        "driver/test_driver.py::test_a_failing_trial_stops_no_other_and_is_run_again_alone",
        "worker/test_worker.py::test_a_trial_that_fails_keeps_its_traceback_and_its_last_lines",
        "../trials/test_finite.py::"
        "test_a_training_whose_last_step_diverges_ends_with_the_setting_to_lower",
    ),
    "A stage hangs": (
        "test_faults.py::test_a_worker_killed_in_every_stage_and_one_that_hangs_change_no_result",
        "worker/test_watchdog.py::test_a_block_that_hangs_is_told_with_all_stacks_and_then_ended",
    ),
    "Nodes with other versions": (
        "test_nodes.py::"
        "test_other_versions_are_refused_before_anything_is_spent_and_a_dead_node_loses_nothing",
        "worker/test_worker.py::test_a_worker_with_other_versions_refuses_and_names_both",
    ),
    "MLflow slow, 429/5xx, dropped answers, killed and restarted; PostgreSQL restarts": (
        "faults/test_away.py::test_a_fault_of_every_kind_of_request_changes_nothing",
        "faults/test_away.py::test_what_only_half_arrived_is_completed_by_the_next_run",
        "faults/test_away.py::test_computing_does_not_wait_for_a_server_that_hangs",
        "faults/test_away.py::"
        "test_a_server_that_is_killed_and_started_in_the_middle_of_a_trial_changes_nothing",
        "faults/test_postgres.py::"
        "test_a_database_that_restarts_in_the_middle_of_a_trial_changes_nothing",
    ),
    "MLflow gone for good": (
        "faults/test_gone.py::"
        "test_a_sweep_whose_server_is_gone_for_good_ends_and_is_delivered_by_the_next_run",
    ),
    "A run deleted or added by hand, a first start interrupted": (
        "tracking/test_reconcile.py::test_a_deleted_run_is_noticed_until_it_is_delivered_again",
        "tracking/test_reconcile.py::test_foreign_runs_are_said_and_left_alone",
        "tracking/test_database.py::test_a_start_that_is_killed_while_it_makes_the_database_leaves_none",
    ),
    "Store full, read-only or gone": (
        "test_faults.py::test_a_full_store_stops_the_sweep_in_words_and_with_more_space_it_goes_on",
        "storage/test_files.py::test_a_read_only_file_system_is_read_and_refuses_in_words",
        "storage/test_files.py::test_a_lasting_fault_is_not_tried_again",
    ),
    "A stored object damaged, truncated or missing": (
        "storage/test_store.py::test_a_damaged_object_warns_is_set_aside_and_can_be_made_again",
        "storage/test_store.py::test_a_missing_object_warns_and_counts_as_not_computed",
        "../test_mutated_files.py::test_a_mutated_file_is_refused_or_says_the_same",
    ),
    "A mask, ticket or checkpoint file damaged": (
        "../trials/test_formats.py::test_a_weight_that_was_changed_is_refused",
        "../trials/test_formats.py::test_a_mask_file_cut_short_is_refused",
        "../test_mutated_files.py::test_a_mutated_file_is_refused_or_says_the_same",
    ),
    "`lotus gc` beside running sweeps, or killed": (
        "commands/test_collecting.py::test_a_sweep_that_runs_meanwhile_loses_nothing",
        "commands/test_collecting.py::test_nothing_that_is_needed_is_removed_whatever_the_interleaving",
        "commands/test_collecting.py::test_what_a_collector_that_died_took_away_is_put_back",
    ),
    "The clock jumps": (
        "test_clocks.py::test_a_clock_that_jumps_forward_and_back_in_a_sweep_changes_no_result",
        "tracking/test_lease.py::test_a_living_driver_elsewhere_is_seen_by_its_counter_and_not_by_clocks",
    ),
    "The SQLite database is locked by another program, or its file system is full": (
        "faults/test_sqlite.py::test_a_database_that_is_locked_for_a_while_changes_nothing",
        "faults/test_sqlite.py::test_a_database_locked_for_longer_is_given_up_and_delivered_to_later",
        "faults/test_sqlite.py::test_a_full_database_is_said_and_with_more_space_it_is_delivered_to",
    ),
}
"""Row of the table -> tests that cause it, below `tests/orchestrator`."""


def rows() -> list[str]:
    """The first column of the table under "When something dies"."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## When something dies\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [line.split("|")[1].strip() for line in table[2:]]


def test_every_row_names_tests() -> None:
    found = rows()
    assert len(found) >= 16
    assert len(set(found)) == len(found)
    assert [row for row in found if row not in TESTS] == []


@pytest.mark.parametrize("row", TESTS)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    for name in TESTS[row]:
        file, function = name.split("::")
        tree = ast.parse((ROOT / HERE / file).read_text(encoding="utf-8"))
        assert function in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, name
