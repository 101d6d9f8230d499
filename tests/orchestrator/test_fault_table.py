"""Every row of the table in docs/faults.md has tests that cause the fault."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HERE = "tests/orchestrator/"

TESTS: dict[str, tuple[str, ...]] = {
    "A worker process is killed, in any stage": (
        "test_faults.py::test_a_worker_killed_in_every_stage_and_one_that_hangs_change_no_result",
        "../trials/training/test_snapshots.py::"
        "test_a_stage_that_died_at_any_snapshot_ends_as_if_it_had_not",
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
        "../trials/training/test_snapshots.py::test_a_smaller_micro_batch_goes_on_from_what_was_saved",
    ),
    "The GPU reports an error to a process (an index out of range, an illegal access)": (
        "test_faults.py::"
        "test_a_process_whose_gpu_has_reported_an_error_is_replaced_and_the_item_tried_again",
        "driver/test_searcher.py::test_who_has_told_and_ends_with_an_error_has_told_all_the_same",
    ),
    "`resources.gpu` is set where torch sees no GPU": (
        "test_spot.py::"
        "test_work_waits_for_its_kind_of_node_and_survives_the_loss_of_it_without_a_failure",
        "worker/test_worker.py::test_a_gpu_that_torch_does_not_see_is_an_error_and_not_the_cpu",
    ),
    "A stage raises, or gives NaN": (
        "driver/test_driver.py::test_a_failing_trial_stops_no_other_and_is_run_again_alone",
        "worker/test_worker.py::test_a_trial_that_fails_keeps_its_traceback_and_its_last_lines",
        "../trials/training/test_finite.py::"
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
    "The terminal's encoding lacks a character, file names are not UTF-8 in this locale, "
    "`FORCE_COLOR` with a log": (
        "test_surroundings.py::test_a_sweep_runs_whatever_its_surroundings_are",
        "test_surroundings.py::test_every_command_says_in_ascii_what_it_says",
    ),
    "The terminal is closed: ssh drops, the window is shut": (
        "test_terminals.py::test_a_closed_terminal_ends_a_sweep_cleanly_and_it_continues_later",
        "test_terminals.py::test_under_nohup_a_sweep_goes_on_without_its_terminal",
        "driver/test_interrupts.py::test_a_closed_terminal_is_heard_once_however_often_it_is_told",
    ),
    "Nobody reads the output any more, its disk is full, or it was closed": (
        "test_surroundings.py::test_a_pipe_whose_reader_is_gone_and_a_full_disk_end_nothing",
    ),
    "The user's folder holds `yaml.py`, `types.py`, `mlflow.py` …": (
        "test_surroundings.py::test_a_sweep_runs_whatever_its_surroundings_are",
        "test_surroundings.py::"
        "test_an_empty_entry_of_the_import_path_does_not_bring_the_users_folder",
        "test_surroundings.py::test_the_mlflow_ui_imports_nothing_from_the_users_folder",
        "remote/test_submitted.py::test_a_job_without_a_home_works_in_a_folder_of_its_own",
    ),
    "A user id without a name or a home (containers)": (
        "test_surroundings.py::test_a_sweep_runs_whatever_its_surroundings_are",
        "test_surroundings.py::test_a_user_without_a_name_can_give_every_command",
    ),
    "`TMPDIR` too long for sockets, or not writable": (
        "driver/test_starting.py::test_the_longest_folder_that_ray_can_use_is_used",
        "driver/test_starting.py::test_without_any_folder_one_line_says_which_variable_to_set",
    ),
    "Ray starts slowly": (
        "driver/test_starting.py::test_a_ray_that_does_not_start_in_time_is_started_again",
        "driver/test_starting.py::test_a_ray_that_never_starts_is_one_line_and_the_sweep_is_closed",
    ),
    "Ctrl-C where Python or a library swallows it (a collector, a finalizer, `except:`), while "
    "the program starts, or too late for the sweep to see": (
        "driver/test_interrupts.py::test_a_signal_is_not_lost_in",
        "driver/test_interrupts.py::test_a_sweep_does_not_begin_when_a_signal_was_lost_before_it",
        "driver/test_interrupts.py::"
        "test_a_signal_that_comes_too_late_for_the_sweep_to_see_is_not_lost",
        "test_entry.py::test_a_signal_while_the_program_begins_ends_it_in_one_line",
        "test_entry.py::test_a_signal_that_everybody_swallows_is_the_end_of_the_command",
    ),
    "Ctrl-C in a notebook, in the middle of a call of MLflow on SQLite": (
        "tracking/test_patience.py::test_a_transaction_that_an_interrupt_left_open_is_ended",
    ),
    "A library has something to say when the program ends": (
        "test_entry.py::test_no_library_has_the_last_word",
        "test_entry.py::test_the_plan_of_a_sweep_whose_model_is_asked_for_ends_without_a_word",
    ),
    "A shared stage fails": (
        "driver/test_fallen.py::test_a_trial_whose_stage_failed_is_a_failed_trial_everywhere",
        "driver/test_fallen.py::test_when_the_cause_is_mended_the_same_runs_finish",
        "driver/test_fallen.py::test_a_driver_killed_while_it_says_so_leaves_each_trial_once",
        "driver/test_fallen.py::test_what_mlflow_does_not_take_is_owed",
        "driver/test_fallen.py::test_after_a_stop_nothing_is_said_any_more",
    ),
    "The file was made narrower, or its tolerance or detector changed": (
        "reading/test_standing.py::"
        "test_a_narrower_file_has_a_narrower_report_and_nothing_changed_costs_nothing",
        "reading/test_standing.py::test_another_way_to_read_the_curve_is_in_the_report",
        "reading/test_standing.py::"
        "test_what_is_not_measured_any_more_is_no_number_on_the_sweeps_run",
        "reading/test_standing.py::test_an_axis_that_the_file_has_no_more_is_none_of_the_sweeps",
        "reading/test_standing.py::"
        "test_a_summary_that_was_damaged_or_is_another_machines_is_made_again",
    ),
    "Two sweeps of one name in two experiments": (
        "reading/test_standing.py::"
        "test_sweeps_of_one_name_in_two_experiments_have_reports_of_their_own",
        "reading/test_standing.py::"
        "test_the_report_of_an_earlier_version_is_found_by_whose_trials_it_lists",
        "reading/test_standing.py::"
        "test_where_the_experiment_has_the_sweeps_name_the_folder_has_it_too",
    ),
    "Packages upgraded between two runs": (
        "reading/test_ages.py::test_an_upgraded_package_is_said_at_the_start_and_in_the_report",
        "reading/test_ages.py::test_an_upgrade_is_said_for_what_the_sweep_still_has",
        "reading/test_ages.py::"
        "test_trials_are_counted_by_version_and_those_that_do_not_say_are_named",
    ),
    "A report has fewer figures than the one before": (
        "../dashboards/test_report.py::test_no_figure_of_a_search_outlives_it",
        "../dashboards/test_report.py::test_whatever_a_report_wrote_goes_with_it_whatever_its_name",
    ),
    "MLflow's database is restored from a copy, or made anew, then `lotus gc`": (
        "commands/test_collecting.py::"
        "test_results_of_a_sweep_that_its_database_has_lost_are_kept_counted_and_said",
    ),
    "The output folder is moved, renamed or copied": (
        "tracking/test_places.py::"
        "test_a_moved_folder_is_read_as_before_and_nothing_is_written_to_the_old_place",
        "tracking/test_places.py::test_a_sweep_goes_on_in_a_moved_folder",
        "tracking/test_places.py::test_a_sweep_that_goes_on_in_a_copy_leaves_the_original_alone",
        "tracking/test_places.py::test_only_addresses_that_begin_with_the_old_folder_are_rewritten",
    ),
    "Artifacts are lost: a folder, a bucket, a disk that is not mounted": (
        "tracking/test_places.py::test_lost_artifacts_are_said_and_written_again_from_the_store",
        "tracking/test_places.py::test_a_moved_database_whose_artifacts_stayed_behind_and_are_lost",
        "tracking/test_places.py::test_a_lost_bucket_is_told_from_a_store_that_is_away",
        "tracking/test_places.py::test_one_lost_file_is_said_too",
        "faults/test_lost.py::"
        "test_artifacts_that_a_server_has_lost_are_said_and_the_report_is_written_without_them",
        "faults/test_lost.py::"
        "test_a_place_of_artifacts_that_does_not_answer_is_told_from_a_server_that_does_not",
    ),
    "The output folder can only be read": (
        "tracking/test_opening.py::"
        "test_a_read_only_copy_of_a_finished_sweep_is_read_by_every_command_that_reads",
        "tracking/test_opening.py::test_what_only_the_log_has_is_read_too",
        "tracking/test_opening.py::test_what_was_not_committed_is_undone_before_it_is_read",
        "tracking/test_opening.py::test_at_rest_it_is_one_file_whoever_was_killed",
    ),
    "The tracking database is of an older MLflow": (
        "tracking/test_schema.py::"
        "test_reading_commands_read_a_database_of_an_older_mlflow_and_leave_it_as_it_is",
        "tracking/test_schema.py::test_run_migrates_it_says_so_and_keeps_a_copy",
        "tracking/test_schema.py::test_a_migration_that_fails_or_is_killed_leaves_it_as_it_was",
        "tracking/test_schema.py::test_two_that_migrate_at_once_do_it_once",
        "tracking/test_schema.py::test_a_server_with_a_database_of_an_older_mlflow_is_not_migrated",
    ),
    "A foreign MLflow sends a huge file": (
        "tracking/test_artifacts.py::test_of_a_foreign_server_no_more_is_read_than_the_limit",
    ),
    "`lotus ui` on a port that another program has": (
        "commands/test_ui.py::test_a_taken_port_is_said_and_the_next_one_serves_until_ctrl_c",
        "commands/test_ui.py::test_a_port_that_was_asked_for_and_is_taken_is_refused_in_one_line",
        "commands/test_ui.py::test_a_port_that_is_held_on_one_address_is_not_free_on_any",
        "commands/test_ui.py::test_a_server_that_cannot_start_is_named_with_its_reason",
    ),
    "`lotus ui` on a database server, there or away": (
        "commands/test_ui.py::"
        "test_a_database_server_is_shown_with_its_own_artifact_places_and_without_its_password",
        "commands/test_ui.py::test_a_database_server_that_is_away_is_said_within_seconds",
    ),
    "`MLFLOW_TRACKING_URI`, `LOTUS_STORE` … empty or wrong": (
        "test_cli.py::test_a_tracking_address_of_the_environment_is_named_when_it_cannot_be_used",
        "test_cli.py::test_it_is_one_problem_among_those_of_the_file",
        "test_cli.py::test_a_place_that_is_empty_in_the_environment_is_unset",
        "test_cli.py::test_a_store_of_the_environment_is_named_when_it_cannot_be_used",
    ),
    "Weights that are neither in the cache nor to be had": (
        "commands/test_doctor.py::test_weights_that_cannot_be_had_are_said_in_seconds",
    ),
    "Data missing and a model misspelt at once": (
        "commands/test_doctor.py::"
        "test_absent_data_a_misspelt_model_and_an_absent_file_are_all_found_at_once",
        "commands/test_doctor.py::test_every_model_of_an_axis_is_looked_at",
        "commands/test_doctor.py::test_what_a_run_cannot_be_compared_for_is_not_said_twice",
    ),
    "A path with a space, an accent or `#`": (
        "commands/test_console.py::test_the_command_can_be_pasted_whatever_the_folder_is_called",
    ),
    "An update makes the last stage measure more, and an old sweep is run again": (
        "storage/test_before_deployed.py::test_a_sweep_of_before_evaluates_again_and_trains_nothing",
        "storage/test_before_deployed.py::"
        "test_every_result_of_before_but_the_evaluation_is_still_known_by_its_key",
    ),
    "A model of before such an update is exported": (
        "storage/test_before_deployed.py::"
        "test_a_trial_of_before_is_exported_and_what_it_did_not_measure_is_said",
        "publishing/test_card.py::test_what_an_earlier_version_did_not_measure_is_said_and_not_guessed",
    ),
    "A node turns on the cluster": (
        "deploy/test_accounts.py::"
        "test_a_sweep_can_be_run_published_and_collected_with_what_a_node_holds",
        "deploy/test_accounts.py::"
        "test_a_node_writes_runs_of_others_and_deletes_neither_them_nor_their_experiments",
        "deploy/test_accounts.py::"
        "test_a_node_deletes_no_experiment_that_nodes_have_made_only_runs_in_it",
        "deploy/test_accounts.py::test_a_node_makes_no_users_and_gives_no_rights",
        "deploy/test_accounts.py::test_a_node_touches_objects_of_its_bucket_and_nothing_else",
        "deploy/test_accounts.py::"
        "test_nobody_becomes_an_admin_of_the_store_through_its_gateways_own_port",
        "deploy/test_accounts.py::"
        "test_made_again_with_another_password_the_old_one_is_refused_and_rights_are_put_right",
        "deploy/test_accounts.py::"
        "test_a_server_with_another_admin_is_not_healthy_and_says_why_as_it_ends",
        "deploy/test_accounts.py::test_a_signal_ends_the_server_with_its_starter",
        "deploy/test_accounts.py::test_a_key_that_is_none_is_refused_before_the_store_starts",
        "deploy/test_compose.py::test_rays_nodes_hold_the_keys_of_their_own_accounts_and_no_others",
        "deploy/test_kubernetes.py::test_ray_pods_hold_the_nodes_keys_and_the_servers_their_own",
    ),
}
"""Row of the table -> tests that cause it, below `tests/orchestrator`."""


def rows() -> list[str]:
    """The first column of its table."""
    text = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
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
