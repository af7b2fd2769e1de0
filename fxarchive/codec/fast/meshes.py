"""What torch keeps of meshes of processes under private names: those that are entered, and stand-ins for them.

Tracing of torch 2.12 and later puts a FakeScriptObject in the place of a mesh, which holds the mesh. Where the running
torch has one of these names no more, no mesh is entered, and a spec holds the mesh itself.
"""

from __future__ import annotations

from typing import Any

from torch._library.fake_class_registry import FakeScriptObject


def entered() -> list[Any]:
    """Return the meshes whose ``with`` blocks the program is in, the innermost first."""
    from torch.distributed import device_mesh

    stack = getattr(getattr(device_mesh, "_mesh_resources", None), "mesh_stack", None)
    return stack[::-1] if type(stack) is list else []


def real_mesh(mesh: Any) -> Any:
    """Return the mesh itself, of a mesh or of what stands for one."""
    return object.__getattribute__(mesh, "real_obj") if type(mesh) is FakeScriptObject else mesh


def stand_for(stand_in: FakeScriptObject, mesh: Any) -> bool:
    """Put ``mesh`` into what is to stand for it; whether the running torch traces with such things."""
    if type(mesh).__mro__[1] is object:  # before torch 2.12 a mesh is an object as any other
        return False
    try:
        from torch._library.opaque_object import FakeOpaqueObject
    except ImportError:
        return False
    if real_mesh(stand_in) is not mesh:
        object.__setattr__(stand_in, "real_obj", mesh)
        object.__setattr__(stand_in, "wrapped_obj", FakeOpaqueObject())
    return True
