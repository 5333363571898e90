#%Module1.0
# Module file for Environment Modules; it finds the program from where it lies: PREFIX/share/llava_rlhf/modulefiles/llava_rlhf/VERSION.
set here [file normalize $ModulesCurrentModulefile]
if {![regexp {^(.*)/share/llava_rlhf/modulefiles/} $here all prefix]} {
    error "this file was moved out of its installation"
}

proc ModulesHelp {} {
    puts stderr "llava_rlhf aligns vision-language models with human preferences, as MPI jobs."
    puts stderr "Try the installation:  mpirun -np 2 llava_rlhf --self-test"
    puts stderr "Inputs and job scripts: \$LLAVA_RLHF_SHARE/inputs, \$LLAVA_RLHF_SHARE/jobs. Manual: man llava_rlhf"
}
module-whatis "SFT, reward model and PPO for vision-language models"

prepend-path PATH $prefix/bin
prepend-path MANPATH $prefix/share/man
setenv LLAVA_RLHF_SHARE $prefix/share/llava_rlhf
