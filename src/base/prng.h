/* base/prng.h: a small random number generator (SplitMix64, Steele et al. 2014); an argument, never
 * global. */
#ifndef PN_BASE_PRNG_H
#define PN_BASE_PRNG_H

#include <stdint.h>

struct prng {
        uint64_t state;
};

uint64_t prng_next(struct prng *p);
/* Uniform in 0 .. below-1; below > 0. */
uint64_t prng_below(struct prng *p, uint64_t below);

#endif
