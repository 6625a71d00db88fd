# The proxy's image: Caddy as it comes, for a user without any privilege.
FROM caddy:2.11.4-alpine
# Caddy's file may bind low ports, and for that cannot be started at all where every privilege is dropped.
RUN setcap -r /usr/bin/caddy \
    && addgroup -g 10002 caddy \
    && adduser -u 10002 -G caddy -D -H -s /sbin/nologin caddy \
    && chown -R caddy:caddy /data /config
COPY Caddyfile /etc/caddy/Caddyfile
USER 10002:10002
EXPOSE 8080 8443
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s --retries=3 \
    CMD ["nc", "-z", "127.0.0.1", "8080"]
