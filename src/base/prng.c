/* prng: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). The
 * state is the caller's. Not for secrets. */
#include "base/prng.h"

#include "base/must.h"

uint64_t
prng_next(struct prng *p)
{
        uint64_t z = p->state += 0x9e3779b97f4a7c15u;

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
}

uint64_t
prng_below(struct prng *p, uint64_t below)
{
        uint64_t incomplete, n;

        must(below > 0);
        /* The top of the range that is not a whole multiple of `below` would favour small
         * numbers. */
        incomplete = (UINT64_MAX % below + 1) % below;
        do {
                n = prng_next(p);
        } while (n > UINT64_MAX - incomplete);
        return n % below;
}
