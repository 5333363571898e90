# Executes Spack's recipe with a stand-in for spack.package: its directives note what they are given. Checks what can be checked
# without Spack: names, and that dependencies, variants and options fit together.
# usage: spack_stub.py RECIPE VARIANT... ; prints the CMake options that the recipe sets with those variants on
import sys
import types

recipe, on = sys.argv[1], set(sys.argv[2:])
noted = {"depends_on": [], "variant": [], "version": []}
stub = types.ModuleType("spack.package")


def directive(name):
    return lambda *args, **options: noted.setdefault(name, []).append((args, options))


for name in ("license", "version", "variant", "depends_on", "conflicts", "generator"):
    setattr(stub, name, directive(name))


class CMakePackage:
    def define(self, name, value):
        text = ";".join(value) if isinstance(value, list) else "ON" if value else "OFF"
        return f"-D{name}={text}"

    def define_from_variant(self, name, variant):
        assert variant in names, f"there is no variant {variant}"
        return self.define(name, variant in on)


class CudaPackage:
    pass


class Spec:
    variants = {"cuda_arch": types.SimpleNamespace(value=("80", "90"))}

    def satisfies(self, text):
        return (text[1:] in on) == (text[0] == "+")


stub.CMakePackage, stub.CudaPackage = CMakePackage, CudaPackage
for name in ("working_dir", "ctest", "Executable", "join_path", "which", "SkipTest"):
    setattr(stub, name, None)
stub.__all__ = [name for name in vars(stub) if not name.startswith("__")]
sys.modules["spack"], sys.modules["spack.package"] = types.ModuleType("spack"), stub

scope = {"__file__": recipe, "__name__": "recipe"}
exec(compile(open(recipe).read(), recipe, "exec"), scope)
names = {args[0] for args, _ in noted["variant"]} | {"cuda"}
package = scope["LlavaRlhf"]
for args, options in noted["depends_on"]:
    condition = options.get("when", "")
    assert not condition or condition[1:] in names, f"{args[0]} depends on an unknown variant, {condition}"
tests = [name for name in vars(package) if name.startswith("test_")]
assert "test_self_test" in tests and all(getattr(package, name).__doc__ for name in tests)
for args, options in noted["version"]:
    assert "branch" in options or "sha256" in options, f"version {args[0]} has neither branch nor checksum"
instance = package()
instance.spec = Spec()
print("\n".join(instance.cmake_args()))
