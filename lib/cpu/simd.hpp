#pragma once
/// Run-time dispatch for plain loops: the compiler makes one copy of the function per instruction set and the
/// loader picks. The one macro of this folder, because an attribute cannot be spelled conditionally in any
/// other way. Off where there is no such choice (other processors) and under the thread sanitizer, whose
/// start-up cannot run the loader's choice.

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define SPLITCNN_CLONES __attribute__((target_clones("default", "avx2", "arch=skylake-avx512")))
#else
#define SPLITCNN_CLONES
#endif
