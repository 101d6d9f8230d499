"""The private names of Ray and Tune that this package touches. Imports no Ray."""

from orchestrator.private_names import Package, PrivateName

_MEMORY = "ray.experimental.internal_kv"
_CONTROLLER = "ray.tune.execution.tune_controller"
_AUTHENTICATION = "ray._private.authentication"

MEMORY = (
    PrivateName(_MEMORY, "_internal_kv_get", "notes between drivers and processes", ("namespace",)),
    PrivateName(
        _MEMORY,
        "_internal_kv_put",
        "notes between drivers and processes",
        ("overwrite", "namespace"),
    ),
    PrivateName(
        _MEMORY, "_internal_kv_list", "notes between drivers and processes", ("namespace",)
    ),
    PrivateName(
        _MEMORY,
        "_internal_kv_del",
        "notes between drivers and processes",
        ("del_by_prefix", "namespace"),
    ),
)
"""The head node's key-value memory: all drivers of a cluster see it, and it needs no server."""

NODES = (
    PrivateName(
        "ray._private.state",
        "actors",
        "on which node a process ran: without it a lost node counts as a failure of what ran there",
    ),
    PrivateName("ray._private.state", "state", "whether an autoscaler works"),
    PrivateName(
        "ray._private.state", "GlobalState.get_cluster_config", "whether an autoscaler works"
    ),
)

JOINING = (
    PrivateName(
        "ray._private.services",
        "canonicalize_bootstrap_address_or_die",
        "the head node's address, as Ray itself finds it",
    ),
    PrivateName(
        f"{_AUTHENTICATION}.authentication_token_setup",
        "maybe_enable_token_auth_if_token_available",
        "using the token that lies on this machine, as Ray does",
        ("warn_if_disabled",),
    ),
    PrivateName(
        f"{_AUTHENTICATION}.http_token_authentication",
        "get_auth_headers_if_auth_enabled",
        "sending our token with the one question to the head node",
    ),
    PrivateName(
        "ray.core.generated.gcs_service_pb2", "", "asking the head node whether it takes our token"
    ),
    PrivateName(
        "ray.core.generated.gcs_service_pb2_grpc",
        "NodeInfoGcsServiceStub.GetClusterId",
        "asking the head node whether it takes our token",
    ),
)

STARTING = (
    PrivateName(
        "ray._common.utils",
        "get_default_system_temp_dir",
        "the folder of Ray's sockets, whose path may be too long",
    ),
    PrivateName("ray._private.worker", "init", "another folder for Ray's sockets", ("_temp_dir",)),
    PrivateName(
        "ray._private.utils",
        "set_sigterm_handler",
        "keeping our own handler of SIGTERM, which ends a sweep cleanly",
    ),
    PrivateName(
        "ray._private.node", "Node.start_head_processes", "ending what a failed start leaves behind"
    ),
    PrivateName(
        "ray._private.node",
        "Node.kill_all_processes",
        "ending what a failed start leaves behind",
        ("check_alive", "allow_graceful"),
    ),
    *(
        PrivateName(module, name, "fewer processes of a Ray that serves one sweep")
        for module, name in (
            ("ray._private.node", "Node.start_api_server"),
            ("ray._private.node", "Node._webui_url"),
            ("ray._private.node", "Node._ray_params"),
            ("ray._private.parameter", "RayParams.no_monitor"),
            ("ray._private.parameter", "RayParams.include_log_monitor"),
        )
    ),
    PrivateName(
        "ray.job_config",
        "JobConfig._py_driver_sys_path",
        "keeping the working directory out of the workers' import path",
    ),
)

TUNING = (
    PrivateName(
        _CONTROLLER,
        "TuneController._cleanup_cached_actors",
        "giving idle processes to other sweeps",
        ("force_all",),
    ),
    PrivateName(
        "ray.air.execution._internal.actor_manager",
        "RayActorManager._actor_task_failed",
        "taking an error that Tune does not know for the end of one process",
    ),
    PrivateName(_CONTROLLER, "TuneController.step", "forgetting trials that have ended"),
    PrivateName(_CONTROLLER, "TuneController._stopped_trials", "forgetting trials that have ended"),
    PrivateName(_CONTROLLER, "TuneController._trials", "forgetting trials that have ended"),
    PrivateName(
        _CONTROLLER, "TuneController._trials_to_cache", "forgetting trials that have ended"
    ),
    PrivateName(_CONTROLLER, "TuneController._trial_metadata", "forgetting trials that have ended"),
    PrivateName(
        "ray.tune.experiment.trial",
        "Trial.temporary_state",
        "the process of a trial, to end it and to know its node",
    ),
    PrivateName(
        "ray.tune.experiment.trial",
        "_TemporaryTrialState.ray_actor",
        "the process of a trial, to end it and to know its node",
    ),
    PrivateName("ray.tune.experiment.trial", "Trial.error_file", "what Ray wrote about a death"),
    PrivateName("ray.actor", "ActorHandle._actor_id", "on which node a process ran"),
)

JOBS = (
    PrivateName(
        "ray.dashboard.modules.dashboard_sdk",
        "SubmissionClient._do_request",
        "a limit on waiting for the dashboard",
        ("method", "endpoint"),
    ),
    *(
        PrivateName(module, "", "a logger that would tell of every step")
        for module in (
            "ray.dashboard.modules.dashboard_sdk",
            "ray.dashboard.modules.job.sdk",
            "ray._private.runtime_env.packaging",
            f"{_AUTHENTICATION}.http_token_authentication",
        )
    ),
)

RAY = Package(
    "ray",
    "2.60.0",
    "ray[default,tune]",
    (*MEMORY, *NODES, *JOINING, *STARTING, *TUNING, *JOBS),
)
