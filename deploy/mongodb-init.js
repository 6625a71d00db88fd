// Makes MongoDB a replica set of one and its user, once: mongosh --nodb mongodb-init.js. Running it again changes nothing.
const fs = require("fs");
const secret = (name) => fs.readFileSync(`/run/secrets/${name}`, "utf8").trim();
const root = `mongodb://root:${encodeURIComponent(secret("mongodb_root_password"))}@mongodb:27017/admin`;
const PATIENCE_SECONDS = 120;

// Repeats `attempt` until it returns something: a new MongoDB restarts once, and a replica set elects for some seconds.
function until(what, attempt) {
  for (let second = 0; ; second += 1) {
    try {
      const found = attempt();
      if (found) return found;
    } catch (error) {
      if (second >= PATIENCE_SECONDS) throw error;
    }
    if (second >= PATIENCE_SECONDS) throw new Error(`${what}: not within ${PATIENCE_SECONDS} s`);
    sleep(1000);
  }
}

const alone = until("MongoDB answers", () => connect(`${root}?directConnection=true`));
try {
  alone.adminCommand({ replSetGetStatus: 1 });
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  alone.adminCommand({ replSetInitiate: { _id: "parley", members: [{ _id: 0, host: "mongodb:27017" }] } });
}
until("a primary", () => alone.hello().isWritablePrimary);

const parley = alone.getSiblingDB("parley");
const account = { pwd: secret("mongodb_password"), roles: ["readWrite", "dbAdmin"] };
if (parley.getUser("parley")) {
  parley.updateUser("parley", account);
} else {
  parley.createUser({ user: "parley", ...account });
}
print("MongoDB is ready.");
