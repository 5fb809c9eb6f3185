# Chapar as a relay, for the harness that measures relays side by side (peers.sh): the adapter
# that says how it is configured, started and asked. Durable as always: 250 after the disk's sync.
# CHAPAR_BUILD is a build without sanitizers; its programs are used where they are.
CH_BUILD=${CHAPAR_BUILD:?set CHAPAR_BUILD to the build directory}
CH_RUN=$BENCH_DIR/roots/chapar
CH_CTL=("$CH_BUILD/relay/relayctl" -s "$CH_RUN/relayd.sock")
adapter_setup() { test -x "$CH_BUILD/relay/relayd" && mkdir -p "$CH_RUN/spool"; }
adapter_spool() { echo "$CH_RUN/spool"; }
adapter_config()
{
	mkdir -p "$CH_RUN/spool"
	local sink=$SINK_PORT
	[ "$MODE" != accept ] || sink=$DEAD_PORT        # accepted, kept, and nobody there to take it
	cat > "$CH_RUN/relayd.conf" <<CF
node {
  hostname = "relay.test"
  spool = "$CH_RUN/spool"
  control = "$CH_RUN/relayd.sock"
}
tls "bench" {
  certificate = "$TLS_CERT"
  key = "$TLS_KEY"
}
listener "bench" {
  address = { "127.0.0.1:$PORT" }
  tls = $([ "$TLS_IN" = 1 ] && echo starttls || echo none)
}
limits { connections = 20000 }
accept { relay_from = { "127.0.0.0/8" } }
route "dead" {
  for = { "dead.test" }
  to = { "127.0.0.1:$DEAD_PORT" }
  tls = none
}
route "sink" {
  for = { "*" }
  to = { "127.0.0.1:$sink" }
  tls = $([ "$TLS_OUT" = 1 ] && echo require || echo none)
}
CF
}
adapter_start()
{
	"$CH_BUILD/relay/relayd" -f "$CH_RUN/relayd.conf" </dev/null >>"$CH_RUN/relayd.log" 2>&1 &
	echo $! > "$CH_RUN/pid"
}
adapter_stop() { kill -TERM "$(cat "$CH_RUN/pid")"; }
adapter_wipe() { rm -rf "$CH_RUN/spool"; mkdir -p "$CH_RUN/spool"; : > "$CH_RUN/relayd.log"; }
adapter_queue_len() { "${CH_CTL[@]}" -j status | jq .queue.messages; }
# The harness runs this one in a shell that has the environment alone.
adapter_queue_list() { "$CHAPAR_BUILD/relay/relayctl" -s "$BENCH_DIR/roots/chapar/relayd.sock" list; }
adapter_flush() { "${CH_CTL[@]}" retry --all; }
adapter_log() { echo "$CH_RUN/relayd.log"; }
