#ifndef RELAY_INBOUND_POLICY_H
#define RELAY_INBOUND_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/arena.h"
#include "relay/base/err.h"
#include "relay/base/network.h"
#include "relay/base/span.h"
#include "relay/mail/reply.h"
#include "relay/net/tls.h"

/*
 * Who may send what to whom.  Pure: facts in, a verdict out.
 *
 * A policy is a list of lines; the first that matches decides.  The lines stand in this
 * order, whatever the order in the file: refusals of clients, of senders; whom users
 * may send as; refusals of recipients; then who may relay; at last whether the recipient
 * is one of ours.  What no line admits is refused: there is no open relay by omission.
 *
 * Patterns of addresses: "*" everything, "example.net" the domain, "*.example.net" any
 * domain below it, "user@" the local part anywhere, "user@example.net", and "<>" the
 * null sender.  All without regard to ASCII case.
 */
enum policy_rule {
	POLICY_REFUSE_CLIENT,           /* refuse_from */
	POLICY_REFUSE_SENDER,           /* refuse_senders */
	POLICY_USER_SENDER,             /* user "..." { senders }: may, or may not, be this one */
	POLICY_REFUSE_RCPT,             /* refuse_recipients */
	POLICY_RELAY_NETWORK,           /* relay_from */
	POLICY_RELAY_CERTIFICATE,       /* relay_certificates, by name */
	POLICY_RELAY_FINGERPRINT,       /* relay_certificates, by fingerprint */
	POLICY_RELAY_AUTHENTICATED,     /* relay_authenticated: who proved who he is */
	POLICY_OURS,                    /* a route takes it from anybody */
	POLICY_NOT_OURS,                /* the last line: relaying denied */
};

/* "relay_from": as the configuration calls it. */
const char *policy_rule_name(enum policy_rule rule);

struct policy_line {
	enum policy_rule rule;
	struct network network;                 /* of a client's line */
	uint8_t fingerprint[TLS_FINGERPRINT_BYTES];
	struct span text;                       /* pattern, or name in a certificate */
	struct span user;                       /* POLICY_USER_SENDER: whose line it is, or "*" */
	bool refuses;                           /* POLICY_USER_SENDER: no other sender is his */
	unsigned line;                          /* in the file; 0: a default */
};

struct policy {
	struct arena arena;
	const struct policy_line *lines;
	size_t line_count;
	/* private, while it is built */
	struct policy_line *building;
	size_t capacity;
};

/* What is known when a question is asked.  Spans are borrowed for the call. */
struct policy_facts {
	const uint8_t *client_ip;               /* 16 bytes, IPv4 mapped; NULL: a unix socket */
	const struct tls_info *tls;             /* NULL in clear */
	struct span auth_user;                  /* "" if none */
	struct span sender;                     /* canonical; "" is the null sender */
	struct span rcpt;                       /* canonical */
	bool rcpt_is_ours;
};

struct policy_verdict {
	bool admitted;
	enum policy_rule rule;
	const struct policy_line *line;         /* NULL for the last two rules */
	struct reply reply;                     /* of a refusal */
};

void policy_init(struct policy *policy);
void policy_fini(struct policy *policy);

/*
 * Add a line; they may come in any order.  TEXT is a network, a pattern, a name, a
 * fingerprint ("sha256:...") as the rule wants.  ERR_CONFIG says what was expected.
 */
int policy_add(struct policy *policy, enum policy_rule rule, struct span text, unsigned line,
    struct err *err);
void policy_add_network(struct policy *policy, enum policy_rule rule,
    const struct network *network, unsigned line);

/*
 * The user NAME ("*": each whom no line before names) may send as SENDER: a pattern as
 * above; "self", who has the user's name as address; or "self@example.net", with the
 * user's name as local part.  policy_close_user() ends his lines: no other sender is his.
 */
int policy_add_user(struct policy *policy, struct span name, struct span sender, unsigned line,
    struct err *err);
void policy_close_user(struct policy *policy, struct span name, unsigned line);
int policy_check_user_pattern(struct span text, struct err *err);

/* A right pattern of an address?  For tables of options. */
int policy_check_pattern(struct span text, struct err *err);

/* Puts the lines in order; after it the policy does not change, and any thread may ask. */
void policy_seal(struct policy *policy);

/* At the connection, at MAIL, at RCPT; each asks only the lines that concern it. */
struct policy_verdict policy_judge_client(const struct policy *policy,
    const struct policy_facts *facts);
struct policy_verdict policy_judge_sender(const struct policy *policy,
    const struct policy_facts *facts);
struct policy_verdict policy_judge_rcpt(const struct policy *policy,
    const struct policy_facts *facts);

/* May this client send to anybody?  For limits that are meant for strangers. */
bool policy_may_relay(const struct policy *policy, const struct policy_facts *facts);

bool policy_pattern_matches(struct span pattern, struct span address);

#endif
