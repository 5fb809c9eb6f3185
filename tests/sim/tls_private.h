#ifndef TESTS_SIM_TLS_PRIVATE_H
#define TESTS_SIM_TLS_PRIVATE_H

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/net/tls.h"

/*
 * TLS as far as the network's behaviour depends on it: who showed which certificate, made by which
 * authority, and whether the other side wanted that.  A certificate is its file's name without
 * ".pem"; an authority is its file.
 */
struct sim_tls {
	struct tls_context *context;    /* of the owner, who keeps it */
	enum tls_verify verify;
	char name[TLS_PEER_NAME_BYTES_MAX];
	struct tls_info info;
};

enum { SIM_TLS_BYTES_MAX = 2048 };

void sim_tls_begin(struct sim_tls *tls, struct tls_context *context, const struct tls_peer *peer);

/* The client's words; the server's answer to them; what the client makes of that. */
void sim_tls_hello(struct sim_tls *tls, struct buf *hello_out);
int sim_tls_answer(struct sim_tls *tls, struct span hello, struct buf *answer_out,
    struct err *err);
int sim_tls_check(struct sim_tls *tls, struct span answer, struct err *err);

#endif
