"""The parts of symbolic shapes, which `fxarchive.codec.symbols` offers to the other families.

``values`` (SymInt and its kin) stands on ``expressions`` (rows of a closed list of ``functions``, within
``bounds``) and on ``shape_envs``; ``records`` reads what a file says of an environment and ``restore`` builds
it; ``fakes`` is FakeTensors of symbolic size.
"""
