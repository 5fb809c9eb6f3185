/*
 * The inside of a receiving session, for its files: inbound.c answers the engine,
 * inbound_auth.c what it asks about who the client is, inbound_door.c lets sessions begin
 * and looks at the load.
 */
#ifndef RELAY_INBOUND_INBOUND_PRIVATE_H
#define RELAY_INBOUND_INBOUND_PRIVATE_H

#include <sys/queue.h>

#include "relay/inbound/inbound.h"
#include "relay/inbound/intake.h"
#include "relay/inbound/login.h"
#include "relay/session/serve.h"

LIST_HEAD(inbound_list, inbound);

struct inbound_worker {
	struct intake_set intakes;
	struct loop *loop;
	struct gate *gate;
	struct work_pool *helpers;
	struct inbound_list sessions;
	struct loop_timer look;         /* at the level of load */
	enum load_level level;          /* as the sessions have it */
};

/* One session.  The envelope is here until DATA, then it is the intake's. */
struct inbound {
	struct crew_session crew;
	LIST_ENTRY(inbound) entry;
	struct inbound_worker *worker;
	const struct inbound_config *config;
	const struct crew_door *door;
	struct serve *serve;

	char client_text[ENDPOINT_TEXT_BYTES_MAX];
	uint8_t client_ip[16];
	bool has_client_ip;
	enum gate_standing standing;
	struct loop_timer greeting;     /* a stranger waits for it */
	struct span hello;              /* owned: of many idle sessions nothing is left over */
	struct login *login;            /* NULL: nobody can say who he is */

	struct envelope *envelope;
	struct intake *intake;
	uint64_t size_hint;
	bool body_is_refused;
	struct reply *outcome;          /* LMTP: the same for every recipient */
};

/* ---- inbound.c */

/* Logs it; STEP_REPLY. */
enum step inbound_refused(const struct inbound *in, const char *stage, struct span rcpt,
    const struct reply *reply);

/* ---- inbound_auth.c */

/* Where the listener has AUTH; then what can be offered to this client now. */
void inbound_begin_auth(struct inbound *in);
void inbound_offer_auth(struct inbound *in);

/* True, with the reply, when mail has to wait until the client has said who it is. */
bool inbound_lacks_auth(const struct inbound *in, struct reply *reply);

/* Of struct smtp_server_ops. */
enum step inbound_auth(void *ctx, const struct smtp_auth_step *auth_step, struct buf *challenge,
    struct reply *reply);
void inbound_auth_cancelled(void *ctx);

/* ---- inbound_door.c */

/* The session begins or ends, as far as gate and worker keep count of it. */
void inbound_enter(struct inbound *in);
void inbound_leave(struct inbound *in);

/* The greeting has to wait; it is said by itself later. */
bool inbound_holds_greeting(struct inbound *in);

void inbound_fill_settings(const struct inbound *in, struct serve_settings *settings);

#endif
