# Recipe of llava_rlhf for Spack. `spack repo add packaging/spack` makes it known; the sources are those of the checkout that this
# file lies in. There is no release yet, and so no archive with a checksum: version main is the checkout's branch main.
import os

from spack.package import *


class LlavaRlhf(CMakePackage, CudaPackage):
    """Aligns vision-language models with human preferences (supervised fine-tuning, reward model, PPO) as MPI jobs on CPUs and
    GPUs, by the method of LLaVA-RLHF."""

    homepage = "https://arxiv.org/abs/2309.14525"
    git = "file://" + os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))

    license("Apache-2.0")

    version("main", branch="main")

    variant("tests", default=False, description="Build the test suite, which spack install --test=root runs")
    variant("webp", default=True, description="Read WebP images")
    variant("papi", default=False, description="Count hardware events of regions with PAPI")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi@3:")
    depends_on("hdf5@1.10:")
    depends_on("openblas threads=openmp")
    depends_on("sentencepiece")
    depends_on("pcre2")
    depends_on("utf8proc")
    depends_on("libjpeg-turbo")
    depends_on("libpng")
    depends_on("libwebp", when="+webp")
    depends_on("yajl")
    depends_on("xxhash")
    depends_on("random123")
    depends_on("zlib-api")
    depends_on("papi", when="+papi")
    depends_on("cmocka", when="+tests", type=("build", "link"))
    depends_on("cuda@12.8:", when="+cuda")
    # Collectives between GPUs go through MPI where its header was not there.
    depends_on("nccl", when="+cuda")

    generator("ninja")
    conflicts("cuda_arch=none", when="+cuda", msg="cuda_arch says for which GPUs: 80, 90, 100")

    def cmake_args(self):
        args = [
            self.define_from_variant("LLAVA_RLHF_TESTS", "tests"),
            self.define_from_variant("LLAVA_RLHF_CUDA", "cuda"),
            self.define_from_variant("LLAVA_RLHF_WEBP", "webp"),
            self.define_from_variant("LLAVA_RLHF_PAPI", "papi"),
            self.define("LLAVA_RLHF_BENCHMARKS", False),
        ]
        if self.spec.satisfies("+cuda"):
            # Instructions of sm_90 and sm_100 that later GPUs lack have an "a" in the name of their architecture.
            names = {"90": "90a", "100": "100a"}
            args.append(
                self.define(
                    "LLAVA_RLHF_CUDA_ARCHITECTURES",
                    [names.get(arch, arch) for arch in self.spec.variants["cuda_arch"].value],
                )
            )
        return args

    def check(self):
        """Build-time tests: those that are not slow."""
        if self.spec.satisfies("+tests"):
            with working_dir(self.build_directory):
                ctest("--output-on-failure", "-LE", "slow|structure")

    # What follows is run by `spack test run llava-rlhf`, at any time after the installation.

    def program(self):
        return Executable(join_path(self.prefix.bin, "llava_rlhf"))

    def test_version(self):
        """the program starts, and is the one that was built"""
        text = self.program()("--version", output=str.split, error=str.split)
        assert "llava_rlhf" in text and "HDF5" in text
        assert ("not built" in text) == self.spec.satisfies("~cuda")

    def test_inputs(self):
        """installed inputs are understood"""
        inputs = join_path(self.prefix.share, "llava_rlhf", "inputs")
        for name in ("ppo.nml", "sft.nml", "rm.nml"):
            self.program()("--check", join_path(inputs, name))

    def test_self_test(self):
        """one rank computes what it should"""
        text = self.program()("--self-test", output=str.split, error=str.split)
        assert "FAILED" not in text

    def test_self_test_mpi(self):
        """two ranks compute together what one does"""
        mpirun = which("mpirun", path=self.spec["mpi"].prefix.bin)
        if mpirun is None:
            raise SkipTest("this MPI has no mpirun: start llava_rlhf --self-test with the scheduler's launcher")
        mpirun("-np", "2", join_path(self.prefix.bin, "llava_rlhf"), "--self-test")
