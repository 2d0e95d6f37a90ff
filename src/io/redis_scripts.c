/* redis_scripts: the scripts' texts. Owns nothing. Offsets in them are Lua's, from 1, and count
 * the 8 bytes of the version; the asserts below tie them to cache/entry.h. A Lua number is a
 * double: all times and versions are below 2^53 (microseconds until the year 2255), where it is
 * exact; what claims to be more is not ours. Not here: leases, beyond that a write ends one;
 * announcements, whose places are marked. */
#include "io/redis_scripts.h"

#include "cache/entry.h"

_Static_assert(ENVELOPE_PREFIX == 8, "version stands in bytes 1 to 8");
_Static_assert(ENVELOPE_AT_MAGIC == 0, "magic: 9 to 12");
_Static_assert(ENVELOPE_AT_FORMAT == 4 && ENVELOPE_FORMAT == 1, "format: 13");
_Static_assert(ENVELOPE_AT_FLAGS == 5 && ENTRY_TOMBSTONE == 1, "flags: 14, odd is a tombstone");
_Static_assert(ENVELOPE_AT_ORIGIN == 24, "origin: 33 to 40, without the version 25 to 32");
_Static_assert(ENVELOPE_AT_REPLID == 32, "replication id: 41 to 48");
_Static_assert(ENVELOPE_AT_HARD == 48, "hard expiry: 57 to 64");

/* clang-format off */
static const char write_script[] =
"local kind, version, expect = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])\n"
"local above, least, deadline = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])\n"
"local keep, replid, envelope = tonumber(ARGV[7]), ARGV[8], ARGV[9]\n"
"local time = redis.call('TIME')\n"
"local now = time[1] * 1000000 + time[2]\n"
"\n"
"-- What is there: its version, and whether it is a value that has not expired.\n"
"local stored, live, format, origin, written_under = 0, 0, 0, '', ''\n"
"local head = redis.call('GETRANGE', KEYS[1], 0, 63)\n"
"if #head >= 13 and string.sub(head, 9, 12) == 'PNEV' then\n"
"  local v = struct.unpack('<I8', head)\n"
"  if v < 9007199254740992 then\n"
"    stored, live, format = v, 1, string.byte(head, 13)\n"
"    if format == 1 and #head == 64 then\n"
"      origin, written_under = string.sub(head, 33, 40), string.sub(head, 41, 48)\n"
"      if string.byte(head, 14) % 2 == 1 or struct.unpack('<I8', head, 57) <= now then\n"
"        live = 0\n"
"      end\n"
"    end\n"
"  end\n"
"end\n"
"local grant = tonumber(redis.call('HGET', KEYS[2], 'g') or '0') or 0\n"
"\n"
"if kind == 'n' then\n"
"  if deadline > 0 and now > deadline then\n"
"    return {3, now, 0}\n"
"  end\n"
"  if expect >= 0 then\n"
"    local there = live == 1 and stored or 0\n"
"    if there ~= expect then\n"
"      return {2, there, live}\n"
"    end\n"
"  end\n"
"  version = math.max(now, least, stored + 1, grant + 1, above)\n"
"else\n"
"  -- A promotion does not overwrite what a newer pannierd wrote in a format of its own.\n"
"  if kind == 'p' and format > 1 then\n"
"    return {1, stored, live}\n"
"  end\n"
"  local foreign = kind == 'p' and replid ~= '' and written_under ~= replid\n"
"  if stored >= version and not foreign then\n"
"    if stored > version or origin ~= string.sub(envelope, 25, 32) then\n"
"      -- Place of the announcement of `stored`, unless kind is 'p'.\n"
"      return {1, stored, live}\n"
"    end\n"
"    -- The same again. Stored anew only by a promotion: the copy here may be damaged.\n"
"    if kind == 's' then\n"
"      return {0, version, live}\n"
"    end\n"
"  end\n"
"end\n"
"\n"
"local value = struct.pack('<I8', version) .. envelope\n"
"if keep > 0 then\n"
"  local left = math.max(1, math.ceil((keep - now) / 1000))\n"
"  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', left))\n"
"else\n"
"  redis.call('SET', KEYS[1], value)\n"
"end\n"
"if kind ~= 'p' and grant > 0 and version > grant then\n"
"  -- The lease ends; its grant stays, as a floor. Place of telling those who wait for it.\n"
"  redis.call('HDEL', KEYS[2], 'k')\n"
"end\n"
"-- Place of the announcement of `version`, unless kind is 'p'.\n"
"return {0, version, live}\n";

static const char take_script[] =
"local head = redis.call('GETRANGE', KEYS[1], 0, 39)\n"
"local taken = 0\n"
"if #head == 40 and string.sub(head, 9, 13) == 'PNEV\\1'\n"
"    and struct.unpack('<I8', head) == tonumber(ARGV[1])\n"
"    and string.sub(head, 33, 40) == ARGV[2] then\n"
"  redis.call('UNLINK', KEYS[1])\n"
"  taken = 1\n"
"end\n"
"-- Place of the announcement of this version + 1.\n"
"return taken\n";

static const char raise_script[] =
"local stored = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') or 0\n"
"if tonumber(ARGV[2]) <= stored then\n"
"  return stored\n"
"end\n"
"redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])\n"
"-- Place of the announcement of this invalidation.\n"
"return tonumber(ARGV[2])\n";
/* clang-format on */

const char *const redis_scripts[SCRIPT_COUNT] = {
        [SCRIPT_WRITE] = write_script,
        [SCRIPT_TAKE] = take_script,
        [SCRIPT_RAISE] = raise_script,
};
