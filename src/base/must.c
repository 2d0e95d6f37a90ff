/* must: the end of a process that found a bug in itself. Says where, then aborts, so that a core
 * shows the rest. */
#include "base/must.h"

#include <stdlib.h>

#include "base/log.h"

void
must_fail(const char *what, const char *file, int line)
{
        log_error("%s:%d: this must hold: %s", file, line, what);
        abort();
}
