"""Python processes that are forked where torch, timm and MLflow are imported already.

A test that starts `lotus` pays for two processes that import libraries for most of their time: of
23 core-seconds of a small sweep 10 go there. Here one process has imported them, and neither Ray,
whose settings are read once for all, nor anything of this project. It forks whenever a test asks
for `lotus`, MLflow's server or `ray start`, and when a Ray that a test started asks for a worker or
for what else each node has. What is tested is imported anew, with the arguments, environment,
working directory and faults that a process of its own would have.

    server.py    imports, then forks on demand
    client.py    stands in for `python`: asks the server, passes signals on, ends like the process
    ray_command.py  `ray ...` whose processes are forked
    starting.py  one server for all processes of a test run; Ray's workers through the client

What a fork could get wrong goes to the real Python: other limits, namespaces, users, a terminal,
other settings of Python or of libraries in the environment. LOTUS_TESTS_COLD=1 sends everything
there. A test of the process itself names the real one: `Program.start(..., lotus=REAL)`.
"""
