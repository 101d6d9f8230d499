"""Every private name of Ray and Tune that we touch, and nothing else.

The only place that is to be read when Ray changes. `names.py` lists them, each with its reason;
`lotus doctor` and a test look whether the installed version has them. All packages may import it.
"""
