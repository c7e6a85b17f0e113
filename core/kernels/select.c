/* Which sets this build has, which of them this processor can run, and the choice of one. */
#include "essaim/kernels.h"

#ifdef ES_KERNELS_X86
#include <cpuid.h>
#endif
#ifdef ES_KERNELS_ARM
#include <sys/auxv.h>
#endif
#include <stdio.h>
#include <string.h>

extern const es_kernels es_ref_kernels;

/* A set of this build; available asks the processor and the operating system's saved state. */
typedef struct kernel_set {
    const es_kernels *kernels;
    bool (*available)(void);
} kernel_set;

static bool always(void)
{
    return true;
}

#ifdef ES_KERNELS_X86
extern const es_kernels es_avx2_kernels, es_avx512_kernels;

/* These ask CPUID and, through XGETBV, whether the operating system saves the registers. */
static bool has_avx2(void)
{
    unsigned a, b, c, d;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef ES_KERNELS_ARM
extern const es_kernels es_neon_kernels;

/* Linux's own bits for aarch64: every such processor has NEON, not every one the dot products of bytes. */
static bool has_neon(void)
{
    const unsigned long dot_products = 1ul << 20; /* HWCAP_ASIMDDP */
    return (getauxval(AT_HWCAP) & dot_products) != 0;
}
#endif

/* Best last. */
static const kernel_set SETS[] = {
    {&es_ref_kernels, always},
#ifdef ES_KERNELS_X86
    {&es_avx2_kernels, has_avx2},
    {&es_avx512_kernels, has_avx512},
#endif
#ifdef ES_KERNELS_ARM
    {&es_neon_kernels, has_neon},
#endif
};

enum { SETS_COUNT = sizeof SETS / sizeof SETS[0] };

const es_kernels *es_kernels_ref(void)
{
    return &es_ref_kernels;
}

es_status es_kernels_select(const char *name, const es_kernels **ret_kernels, es_err *err)
{
    bool any = name == NULL || strcmp(name, "auto") == 0;
    char names[128] = "auto";
    *ret_kernels = NULL;
    for (size_t i = 0; i < SETS_COUNT; i++) {
        if (!SETS[i].available()) continue;
        const char *set = SETS[i].kernels->name;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, ", %s", set);
        if (any || strcmp(name, set) == 0) *ret_kernels = SETS[i].kernels;
    }
    if (*ret_kernels != NULL) return ES_OK;
    return es_err_set(err, ES_UNSUPPORTED, "isa: \"%s\" is not among what this build and processor have: %s",
                      name, names);
}
