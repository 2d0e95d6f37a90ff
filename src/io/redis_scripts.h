/* io/redis_scripts.h: what Redis executes as one step. */
#ifndef PN_IO_REDIS_SCRIPTS_H
#define PN_IO_REDIS_SCRIPTS_H

enum redis_script {
        /* KEYS value, lease; ARGV kind ("n" new, "s" stamped, "p" promoted), version, expect ("-1"
         * any), known + 1, least time, until (0 never), keep until ("0" for ever), replication id
         * that the stored value must have ("" any), envelope
         * -> {0 stored | 1 lost | 2 conflict | 3 late, version (late: TIME), existed} */
        SCRIPT_WRITE,
        /* KEYS value; ARGV version, origin (8 bytes) -> 1 taken out, 0 */
        SCRIPT_TAKE,
        /* KEYS floors; ARGV field, version -> the version that now stands there */
        SCRIPT_RAISE,
        SCRIPT_COUNT
};

extern const char *const redis_scripts[SCRIPT_COUNT];

#endif
