/* request/native.h: the native protocol's side of a session; session.c hands the bytes over. */
#ifndef PN_REQUEST_NATIVE_H
#define PN_REQUEST_NATIVE_H

#include "request/session.h"

/* As session_consume(); `in` begins behind the preface, which session.c has read. */
struct intake native_consume(struct session *s, struct bytes in);
/* The session ends: uploads and streams are dropped, s->native is freed (it may be NULL). */
void native_end(struct session *s);

#endif
