-- Module file for Lmod; it finds the program from where it lies: PREFIX/share/llava_rlhf/modulefiles/llava_rlhf/VERSION.lua.
-- module use PREFIX/share/llava_rlhf/modulefiles; module load llava_rlhf
local prefix = assert(myFileName():match("^(.*)/share/llava_rlhf/modulefiles/"), "this file was moved out of its installation")

help([[llava_rlhf aligns vision-language models with human preferences, as MPI jobs.
Try the installation:  mpirun -np 2 llava_rlhf --self-test
Inputs and job scripts: $LLAVA_RLHF_SHARE/inputs, $LLAVA_RLHF_SHARE/jobs. Manual: man llava_rlhf]])
whatis("Name: llava_rlhf")
whatis("Version: " .. myModuleVersion())
whatis("Description: SFT, reward model and PPO for vision-language models")

prepend_path("PATH", pathJoin(prefix, "bin"))
prepend_path("MANPATH", pathJoin(prefix, "share/man"))
setenv("LLAVA_RLHF_SHARE", pathJoin(prefix, "share/llava_rlhf"))
