// Everything the pages do beyond links and forms. Each page works for reading without any of it.

import "./zone.js";
import "./once.js";
import "./trouble.js";
import "./dialogs.js";
import "./choosing.js";
import "./keys.js";
import "./live.js";
import "./small.js";
import "./theme.js";
